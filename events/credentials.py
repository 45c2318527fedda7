"""Facts about programs that fetch short-lived tokens, and about when keys and programs were last used."""

from dataclasses import dataclass
from datetime import datetime

from events.registry import event


@event("client-registered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRegistered:
    """A program may fetch tokens for the business (OAuth 2 client credentials). `secret_ref` is its secret's keyed hash."""

    label: str
    secret_ref: str
    scopes: tuple[str, ...]


@event("client-secret-rotated", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSecretRotated:
    """Another secret counts; the one before goes on until then."""

    secret_ref: str
    old_expires_at: datetime


@event("client-removed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRemoved:
    """The program fetches no more tokens, and those that it has open nothing."""


@event("credential-used", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialUsed:
    """An API key or a client was used in the hour that began at `hour`; told once an hour, however often it was used."""

    kind: str
    hour: datetime


ClientEvent = ClientRegistered | ClientSecretRotated | ClientRemoved
