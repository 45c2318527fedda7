"""Decides who is a business of ours, what it is called, and which keys act for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from events.organisations import ApiKeyIssued, ApiKeyRevoked, OrganisationCreated, OrganisationEvent, OrganisationRenamed


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOrganisation:
    """A business joins us; `region` is its home, where its streams live."""

    name: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameOrganisation:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueApiKey:
    """Let a program act for the business. `secret_hash` is the SHA-256 of the secret, which we never keep."""

    key_id: str
    label: str
    secret_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeApiKey:
    key_id: str


OrganisationCommand: TypeAlias = CreateOrganisation | RenameOrganisation | IssueApiKey | RevokeApiKey


class OrganisationExists(CommandRefused):
    """An organisation is created once."""

    code = "organisation-exists"


class OrganisationNameMissing(CommandRefused):
    """A business has a name."""

    code = "organisation-name-missing"


class ApiKeyIdTaken(CommandRefused):
    """A key's id is never used for a second key, not even after the first was revoked."""

    code = "api-key-id-taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """The business and its keys by id, with the hash of each secret; `revoked` ones stay known, so that none is issued again."""

    name: str
    region: str
    keys: Mapping[str, bytes] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()


def decide(command: OrganisationCommand, organisation: Organisation | None) -> Sequence[OrganisationEvent]:
    if isinstance(command, CreateOrganisation):
        return _create(command, organisation)
    if organisation is None:
        raise NotFound("no such organisation; check its id")
    match command:
        case RenameOrganisation(name=name):
            return () if _named(name) == organisation.name else (OrganisationRenamed(name=_named(name)),)
        case IssueApiKey(key_id=key_id, label=label, secret_hash=secret_hash):
            if organisation.keys.get(key_id) == secret_hash and key_id not in organisation.revoked:
                return ()
            if key_id in organisation.keys:
                raise ApiKeyIdTaken(f"key id {key_id} was issued before; issue the key under a new id")
            return (ApiKeyIssued(key_id=key_id, label=label, secret_hash=secret_hash),)
        case RevokeApiKey(key_id=key_id):
            if key_id not in organisation.keys:
                raise NotFound(f"no key {key_id} was issued; check the id among the organisation's keys")
            return () if key_id in organisation.revoked else (ApiKeyRevoked(key_id=key_id),)
        case _:
            assert_never(command)


def _create(command: CreateOrganisation, organisation: Organisation | None) -> Sequence[OrganisationEvent]:
    name = _named(command.name)
    if organisation is None:
        return (OrganisationCreated(name=name, region=command.region),)
    if (organisation.name, organisation.region) != (name, command.region):
        raise OrganisationExists(f"the organisation was created as {organisation.name!r} in {organisation.region}; rename it instead")
    return ()


def _named(name: str) -> str:
    trimmed = " ".join(name.split())
    if not trimmed:
        raise OrganisationNameMissing("give the organisation a name with at least one visible character")
    return trimmed


def evolve(organisation: Organisation | None, fact: OrganisationEvent) -> Organisation | None:
    if isinstance(fact, OrganisationCreated):
        return Organisation(name=fact.name, region=fact.region)
    if organisation is None:
        return None
    match fact:
        case OrganisationRenamed(name=name):
            return replace(organisation, name=name)
        case ApiKeyIssued(key_id=key_id, secret_hash=secret_hash):
            return replace(organisation, keys={**organisation.keys, key_id: secret_hash})
        case ApiKeyRevoked(key_id=key_id):
            return replace(organisation, revoked=organisation.revoked | {key_id})
        case _:
            assert_never(fact)


ORGANISATIONS: Decider[OrganisationCommand, Organisation | None, OrganisationEvent] = Decider(
    room="organisations", category="organisations", initial=None, decide=decide, evolve=evolve
)
