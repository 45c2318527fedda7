"""Facts about the businesses that use us."""

from dataclasses import dataclass
from datetime import datetime

from events.registry import event


@event("organisation-created", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationCreated:
    """A business joined us. Its name is that of a company, not of a person. `parent_id`: whose part it is; empty: nobody's.

    Where it hangs is said once, when it is made: so no organisation is ever above itself.
    """

    name: str
    region: str
    parent_id: str = ""


@event("organisation-renamed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationRenamed:
    """The business goes by another name from now on."""

    name: str


@event("api-key-issued", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyIssued:
    """A program may act for the business. Only the secret's SHA-256 is kept; `key_id` is the visible part.

    `scopes`: what it may (`calls:read`, `agents:write`); none named: everything. `expires_at`: None is never. `api_version`: the API's
    newest date version then, in which the program is answered; empty: the first. `person_id`: whose own key it is, which may no more than
    they may, and only while they belong to the business; empty: it is the business's.
    """

    key_id: str
    label: str
    secret_hash: bytes
    scopes: tuple[str, ...] = ()
    expires_at: datetime | None = None
    api_version: str = ""
    person_id: str = ""


@event("api-key-revoked", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyRevoked:
    """The key opens nothing any more."""

    key_id: str


@event("api-key-expiry-set", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyExpirySet:
    """The key opens nothing from then on: it was replaced by another, and both open until its holders have changed over."""

    key_id: str
    expires_at: datetime


OrganisationEvent = OrganisationCreated | OrganisationRenamed | ApiKeyIssued | ApiKeyRevoked | ApiKeyExpirySet
