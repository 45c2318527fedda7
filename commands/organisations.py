"""Decides who is a business of ours, what it is called, and which keys act for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from events.organisations import (
    ApiKeyExpirySet,
    ApiKeyIssued,
    ApiKeyRevoked,
    OrganisationCreated,
    OrganisationEvent,
    OrganisationRenamed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrganisation:
    """A business joins us; `region` is its home, where its streams live. `parent_id`: whose part it is; empty: nobody's."""

    name: str
    region: str
    parent_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameOrganisation:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueApiKey:
    """Let a program act for the business. `secret_hash` is the SHA-256 of the secret, which we never keep.

    `scopes`, `expires_at`, `api_version` and `person_id` as the fact has them.
    """

    key_id: str
    label: str
    secret_hash: bytes
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    api_version: str = ""
    person_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateApiKey:
    """Issue a key that may what an older one may; the older one goes on until `old_expires_at`, or its own end if that is sooner."""

    key_id: str
    new_key_id: str
    secret_hash: bytes
    old_expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeApiKey:
    key_id: str


OrganisationCommand: TypeAlias = CreateOrganisation | RenameOrganisation | IssueApiKey | RotateApiKey | RevokeApiKey


class OrganisationExists(CommandRefused):
    """An organisation is created once."""

    code = "organisation-exists"


class OrganisationNameMissing(CommandRefused):
    """A business has a name."""

    code = "organisation-name-missing"


class ApiKeyIdTaken(CommandRefused):
    """A key's id is never used for a second key, not even after the first was revoked."""

    code = "api-key-id-taken"


class ApiKeyRevokedAlready(CommandRefused):
    """A revoked key is not replaced: nobody holds it any more."""

    code = "api-key-revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """The business and its keys by id, as they were issued; `revoked` ones stay known, so that none is issued again.

    `ends`: when keys expire, where that was set or moved.
    """

    name: str
    region: str
    keys: Mapping[str, ApiKeyIssued] = field(default_factory=dict)
    ends: Mapping[str, datetime] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    parent_id: str = ""


def decide(command: OrganisationCommand, organisation: Organisation | None) -> Sequence[OrganisationEvent]:
    if isinstance(command, CreateOrganisation):
        return _create(command, organisation)
    if organisation is None:
        raise NotFound("no such organisation; check its id")
    match command:
        case RenameOrganisation(name=name):
            return () if _named(name) == organisation.name else (OrganisationRenamed(name=_named(name)),)
        case IssueApiKey():
            issued = ApiKeyIssued(
                key_id=command.key_id, label=command.label, secret_hash=command.secret_hash, scopes=command.scopes,
                expires_at=command.expires_at, api_version=command.api_version, person_id=command.person_id,
            )  # fmt: skip
            return () if _stands(organisation, issued) else (issued,)
        case RotateApiKey():
            return _rotate(command, organisation)
        case RevokeApiKey(key_id=key_id):
            _issued(organisation, key_id)
            return () if key_id in organisation.revoked else (ApiKeyRevoked(key_id=key_id),)
        case _:
            assert_never(command)


def _issued(organisation: Organisation, key_id: str) -> ApiKeyIssued:
    if key_id not in organisation.keys:
        raise NotFound(f"no key {key_id} was issued; check the id among the organisation's keys")
    return organisation.keys[key_id]


def _stands(organisation: Organisation, issued: ApiKeyIssued) -> bool:
    """Whether this very key was issued already and still opens. Raises ApiKeyIdTaken for another one under its id."""
    known = organisation.keys.get(issued.key_id)
    if known is None:
        return False
    if known.secret_hash != issued.secret_hash or issued.key_id in organisation.revoked:
        raise ApiKeyIdTaken(f"key id {issued.key_id} was issued before; issue the key under a new id")
    return True


def _rotate(command: RotateApiKey, organisation: Organisation) -> Sequence[OrganisationEvent]:
    old = _issued(organisation, command.key_id)
    new = replace(old, key_id=command.new_key_id, secret_hash=command.secret_hash, expires_at=None)
    if _stands(organisation, new):
        return ()
    if command.key_id in organisation.revoked:
        raise ApiKeyRevokedAlready(f"key {command.key_id} was revoked; issue a new key instead of replacing it")
    end = organisation.ends.get(command.key_id)
    if end is not None and end <= command.old_expires_at:
        return (new,)
    return new, ApiKeyExpirySet(key_id=command.key_id, expires_at=command.old_expires_at)


def _create(command: CreateOrganisation, organisation: Organisation | None) -> Sequence[OrganisationEvent]:
    name = _named(command.name)
    if organisation is None:
        return (OrganisationCreated(name=name, region=command.region, parent_id=command.parent_id),)
    if (organisation.name, organisation.region, organisation.parent_id) != (name, command.region, command.parent_id):
        raise OrganisationExists(f"the organisation was created as {organisation.name!r} in {organisation.region}; rename it instead")
    return ()


def _named(name: str) -> str:
    trimmed = " ".join(name.split())
    if not trimmed:
        raise OrganisationNameMissing("give the organisation a name with at least one visible character")
    return trimmed


def evolve(organisation: Organisation | None, fact: OrganisationEvent) -> Organisation | None:
    if isinstance(fact, OrganisationCreated):
        return Organisation(name=fact.name, region=fact.region, parent_id=fact.parent_id)
    if organisation is None:
        return None
    match fact:
        case OrganisationRenamed(name=name):
            return replace(organisation, name=name)
        case ApiKeyIssued(key_id=key_id, expires_at=end):
            ends = organisation.ends if end is None else {**organisation.ends, key_id: end}
            return replace(organisation, keys={**organisation.keys, key_id: fact}, ends=ends)
        case ApiKeyExpirySet(key_id=key_id, expires_at=end):
            return replace(organisation, ends={**organisation.ends, key_id: end})
        case ApiKeyRevoked(key_id=key_id):
            return replace(organisation, revoked=organisation.revoked | {key_id})
        case _:
            assert_never(fact)


ORGANISATIONS: Decider[OrganisationCommand, Organisation | None, OrganisationEvent] = Decider(
    room="organisations", category="organisations", initial=None, decide=decide, evolve=evolve
)
