"""Who signs in: people and the sessions that they have open."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.people import (
    PersonEvent,
    PersonPasswordSet,
    PersonRegistered,
    PersonRenamed,
    PersonSignedIn,
    SessionEnded,
    SessionEvent,
    SessionOpened,
    SessionRefreshed,
    TotpDisabled,
    TotpEnabled,
    TotpOffered,
)
from events.recorded import Recorded
from events.sealing import Sealed
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """All that is theirs is sealed as it came. `totp` is the secret in force, `offered` one that is not proven yet.

    `recovery`: keyed hashes of the codes that are left.
    """

    tenant: str
    id: str
    version: int
    email: Sealed[str]
    email_ref: str
    name: Sealed[str]
    password: Sealed[str] | None
    registered_at: datetime
    totp: Sealed[str] | None = None
    offered: Sealed[str] | None = None
    recovery: tuple[str, ...] = ()
    signed_in_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that nobody ended; whether its time is over is for whoever has a clock. `position`: where it was opened."""

    tenant: str
    id: str
    version: int
    person_id: str
    methods: tuple[str, ...]
    opened_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    generation: int
    position: str


def evolve_person(row: Person | None, recorded: Recorded[PersonEvent]) -> Person:
    fact, stream = recorded.fact, recorded.stream
    if isinstance(fact, PersonRegistered):
        return Person(
            tenant=stream.tenant, id=stream.id, version=recorded.version, email=fact.email, email_ref=fact.email_ref, name=fact.name,
            password=fact.password, registered_at=recorded.occurred_at,
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} has facts before it was registered")
    match fact:
        case PersonRenamed(name=name):
            return replace(row, name=name)
        case PersonPasswordSet(password=password):
            return replace(row, password=password)
        case TotpOffered(secret=secret):
            return replace(row, offered=secret)
        case TotpEnabled(recovery=recovery):
            return replace(row, totp=row.offered, offered=None, recovery=recovery)
        case TotpDisabled():
            return replace(row, totp=None, recovery=())
        case PersonSignedIn(recovery=used):
            return replace(row, signed_in_at=recorded.occurred_at, recovery=tuple(each for each in row.recovery if each != used))
        case _:
            assert_never(fact)


def evolve_session(row: Session | None, recorded: Recorded[SessionEvent]) -> Session | None:
    fact, stream = recorded.fact, recorded.stream
    if isinstance(fact, SessionOpened):
        return Session(
            tenant=stream.tenant, id=stream.id, version=recorded.version, person_id=fact.person_id, methods=fact.methods,
            opened_at=fact.at, refreshed_at=fact.at, expires_at=fact.expires_at, generation=1, position=str(recorded.position),
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{stream} has facts where no session is open")
    match fact:
        case SessionRefreshed(generation=generation, at=at):
            return replace(row, generation=generation, refreshed_at=at)
        case SessionEnded():
            return None
        case _:
            assert_never(fact)


PEOPLE = Table(name="people", version=1, room="people", category="people", row=Person, evolve=evolve_person)
SESSIONS = Table(name="sessions", version=1, room="people", category="sessions", row=Session, evolve=evolve_session)
