"""Facts about the businesses that use us."""

from dataclasses import dataclass

from events.registry import event


@event("organisation-created", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationCreated:
    """A business joined us. Its name is that of a company, not of a person."""

    name: str
    region: str


@event("organisation-renamed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRenamed:
    """The business goes by another name from now on."""

    name: str


@event("api-key-issued", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyIssued:
    """A program may act for the business. Only the secret's SHA-256 is kept; `key_id` is the visible part."""

    key_id: str
    label: str
    secret_hash: bytes


@event("api-key-revoked", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked:
    """The key opens nothing any more."""

    key_id: str


OrganisationEvent = OrganisationCreated | OrganisationRenamed | ApiKeyIssued | ApiKeyRevoked
