"""Decides which programs may fetch tokens for a business, and notes when keys and programs are used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from events.credentials import ClientEvent, ClientRegistered, ClientRemoved, ClientSecretRotated, CredentialUsed


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterClient:
    """As the fact has it."""

    label: str
    secret_ref: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateClientSecret:
    secret_ref: str
    old_expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveClient:
    pass


ClientCommand: TypeAlias = RegisterClient | RotateClientSecret | RemoveClient


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteUse:
    """`hour` is the beginning of the hour in which it was used."""

    kind: str
    hour: datetime


UseCommand: TypeAlias = NoteUse


class ClientExists(CommandRefused):
    """A client's id is never used for a second client, not even after the first was removed."""

    code = "client-exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    registered: ClientRegistered
    secret_ref: str
    removed: bool = False


def decide_client(command: ClientCommand, client: Client | None) -> Sequence[ClientEvent]:
    match command:
        case RegisterClient(label=label, secret_ref=secret_ref, scopes=scopes):
            fact = ClientRegistered(label=label, secret_ref=secret_ref, scopes=scopes)
            if client is not None and (client.removed or client.registered != fact):
                raise ClientExists("a client was registered under this id; register it under a new one")
            return () if client is not None else (fact,)
        case RotateClientSecret(secret_ref=secret_ref, old_expires_at=end):
            if _known(client).removed:
                raise NotFound("the client was removed; register a new one")
            return () if secret_ref == _known(client).secret_ref else (ClientSecretRotated(secret_ref=secret_ref, old_expires_at=end),)
        case RemoveClient():
            return () if _known(client).removed else (ClientRemoved(),)
        case _:
            assert_never(command)


def _known(client: Client | None) -> Client:
    if client is None:
        raise NotFound("no such client; check its id")
    return client


def evolve_client(client: Client | None, fact: ClientEvent) -> Client | None:
    if isinstance(fact, ClientRegistered):
        return Client(registered=fact, secret_ref=fact.secret_ref)
    if client is None:
        return None
    match fact:
        case ClientSecretRotated(secret_ref=secret_ref):
            return replace(client, secret_ref=secret_ref)
        case ClientRemoved():
            return replace(client, removed=True)
        case _:
            assert_never(fact)


def decide_use(command: UseCommand, last: CredentialUsed | None) -> Sequence[CredentialUsed]:
    return () if last is not None and command.hour <= last.hour else (CredentialUsed(kind=command.kind, hour=command.hour),)


def evolve_use(_last: CredentialUsed | None, fact: CredentialUsed) -> CredentialUsed | None:
    return fact


CLIENTS: Decider[ClientCommand, Client | None, ClientEvent] = Decider(
    room="credentials", category="oauth-clients", initial=None, decide=decide_client, evolve=evolve_client
)
CREDENTIAL_USES: Decider[UseCommand, CredentialUsed | None, CredentialUsed] = Decider(
    room="credentials", category="credential-uses", initial=None, decide=decide_use, evolve=evolve_use
)
