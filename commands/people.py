"""Decides who somebody is: one person an address, one sign-in a code, one living refresh token a session."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from events.people import (
    EmailEvent,
    EmailReserved,
    PersonEvent,
    PersonPasswordSet,
    PersonRegistered,
    PersonRenamed,
    PersonSignedIn,
    SessionEnded,
    SessionEvent,
    SessionOpened,
    SessionRefreshed,
    SignInFailed,
    TotpDisabled,
    TotpEnabled,
    TotpOffered,
)
from events.sealing import Sealed

IDLE = timedelta(days=14)
"""A session that nobody refreshed for so long is over."""
LEEWAY = timedelta(seconds=10)
"""So long the refresh token before the last one has the same answer again: windows of one browser refresh at one moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPerson:
    """As the fact has it."""

    email: Sealed[str]
    email_ref: str
    name: Sealed[str]
    password: Sealed[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenamePerson:
    name: Sealed[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPassword:
    password: Sealed[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferTotp:
    secret: Sealed[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableTotp:
    """A code made with the offered secret came back, for the time step `step`."""

    step: int
    recovery: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DisableTotp:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """The password was right, and so was the code where one is asked for: by its `step`, or by `recovery`, its keyed hash."""

    session_id: str
    methods: tuple[str, ...]
    step: int = 0
    recovery: str = ""


PersonCommand: TypeAlias = RegisterPerson | RenamePerson | SetPassword | OfferTotp | EnableTotp | DisableTotp | SignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveEmail:
    person_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteFailedSignIn:
    at: datetime


EmailCommand: TypeAlias = ReserveEmail | NoteFailedSignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    person_id: str
    methods: tuple[str, ...]
    at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshSession:
    """A refresh token of that generation was shown, properly signed."""

    generation: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSession:
    reason: str


SessionCommand: TypeAlias = OpenSession | RefreshSession | EndSession


class PersonExists(CommandRefused):
    """A person is registered once."""

    code = "person-exists"


class CodeUsed(CommandRefused):
    """A code opens once: a second sign-in takes the next one."""

    code = "code-used"


class TotpNotOffered(CommandRefused):
    """A code generator counts after a secret was offered for it."""

    code = "totp-not-offered"


class EmailTaken(CommandRefused):
    """An e-mail address is one person's."""

    code = "email-taken"


class SessionOver(CommandRefused):
    """The session has ended; sign in again."""

    code = "session-over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """`step`: of the last code that was taken. `session_id`: that of the last sign-in, so that its repeat is known."""

    registered: PersonRegistered
    name: Sealed[str]
    password: Sealed[str] | None
    offered: Sealed[str] | None = None
    totp: bool = False
    step: int = 0
    recovery: frozenset[str] = frozenset()
    session_id: str = ""


def decide_person(command: PersonCommand, person: Person | None) -> Sequence[PersonEvent]:
    if isinstance(command, RegisterPerson):
        return _register(command, person)
    if person is None:
        raise NotFound("no such person; check the id")
    match command:
        case RenamePerson(name=name):
            return () if name == person.name else (PersonRenamed(name=name),)
        case SetPassword(password=password):
            return () if password == person.password else (PersonPasswordSet(password=password),)
        case OfferTotp(secret=secret):
            return () if secret == person.offered else (TotpOffered(secret=secret),)
        case EnableTotp(step=step, recovery=recovery):
            return _enable(person, step, recovery)
        case DisableTotp():
            return (TotpDisabled(),) if person.totp else ()
        case SignIn():
            return _sign_in(command, person)
        case _:
            assert_never(command)


def _register(command: RegisterPerson, person: Person | None) -> Sequence[PersonEvent]:
    fact = PersonRegistered(email=command.email, email_ref=command.email_ref, name=command.name, password=command.password)
    if person is None:
        return (fact,)
    if person.registered != fact:
        raise PersonExists("the person was registered already; sign in instead")
    return ()


def _enable(person: Person, step: int, recovery: tuple[str, ...]) -> Sequence[PersonEvent]:
    if person.offered is None:
        if person.totp and person.recovery == frozenset(recovery) and person.step == step:
            return ()
        raise TotpNotOffered("ask for a secret first, and answer with a code that was made with it")
    return (TotpEnabled(step=step, recovery=recovery),)


def _sign_in(command: SignIn, person: Person) -> Sequence[PersonEvent]:
    if command.session_id == person.session_id:
        return ()
    spent = command.step <= person.step if command.step else command.recovery not in person.recovery
    if (command.step or command.recovery or person.totp) and spent:
        raise CodeUsed("this code was used, or is older than one that was; wait for the next one")
    return (PersonSignedIn(session_id=command.session_id, methods=command.methods, step=command.step, recovery=command.recovery),)


def evolve_person(person: Person | None, fact: PersonEvent) -> Person | None:
    if isinstance(fact, PersonRegistered):
        return Person(registered=fact, name=fact.name, password=fact.password)
    if person is None:
        return None
    match fact:
        case PersonRenamed(name=name):
            return replace(person, name=name)
        case PersonPasswordSet(password=password):
            return replace(person, password=password)
        case TotpOffered(secret=secret):
            return replace(person, offered=secret)
        case TotpEnabled(step=step, recovery=recovery):
            return replace(person, offered=None, totp=True, step=step, recovery=frozenset(recovery))
        case TotpDisabled():
            return replace(person, totp=False, recovery=frozenset())
        case PersonSignedIn(session_id=session_id, step=step, recovery=used):
            return replace(person, session_id=session_id, step=max(step, person.step), recovery=person.recovery - {used})
        case _:
            assert_never(fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    person_id: str = ""
    failed_at: datetime | None = None


def decide_email(command: EmailCommand, email: Email) -> Sequence[EmailEvent]:
    match command:
        case ReserveEmail(person_id=person_id):
            if email.person_id not in ("", person_id):
                raise EmailTaken("the address is another person's; sign in with it, or use another one")
            return () if email.person_id else (EmailReserved(person_id=person_id),)
        case NoteFailedSignIn(at=at):
            return () if email.failed_at is not None and at <= email.failed_at else (SignInFailed(at=at),)
        case _:
            assert_never(command)


def evolve_email(email: Email, fact: EmailEvent) -> Email:
    match fact:
        case EmailReserved(person_id=person_id):
            return replace(email, person_id=person_id)
        case SignInFailed(at=at):
            return replace(email, failed_at=at)
        case _:
            assert_never(fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    opened: SessionOpened
    generation: int
    refreshed_at: datetime
    ended: bool = False


def decide_session(command: SessionCommand, session: Session | None) -> Sequence[SessionEvent]:
    match command:
        case OpenSession(person_id=person_id, methods=methods, at=at, expires_at=end):
            fact = SessionOpened(person_id=person_id, methods=methods, at=at, expires_at=end)
            if session is not None and session.opened != fact:
                raise SessionOver("the session was opened before; open one under a new id")
            return () if session is not None else (fact,)
        case RefreshSession(generation=generation, at=at):
            return _refresh(session, generation, at)
        case EndSession(reason=reason):
            if session is None:
                raise NotFound("no such session; check its id")
            return () if session.ended else (SessionEnded(reason=reason),)
        case _:
            assert_never(command)


def _refresh(session: Session | None, generation: int, at: datetime) -> Sequence[SessionEvent]:
    if session is None or session.ended or at >= session.opened.expires_at or at - session.refreshed_at > IDLE:
        raise SessionOver("the session is over; sign in again")
    if generation == session.generation:
        return (SessionRefreshed(generation=generation + 1, at=at),)
    if generation == session.generation - 1 and at - session.refreshed_at <= LEEWAY:
        return ()
    # One of two holders of this token is a thief, and nobody can tell which.
    return (SessionEnded(reason="token-reused"),)


def evolve_session(session: Session | None, fact: SessionEvent) -> Session | None:
    if isinstance(fact, SessionOpened):
        return Session(opened=fact, generation=1, refreshed_at=fact.at)
    if session is None:
        return None
    match fact:
        case SessionRefreshed(generation=generation, at=at):
            return replace(session, generation=generation, refreshed_at=at)
        case SessionEnded():
            return replace(session, ended=True)
        case _:
            assert_never(fact)


PEOPLE: Decider[PersonCommand, Person | None, PersonEvent] = Decider(
    room="people", category="people", initial=None, decide=decide_person, evolve=evolve_person
)
EMAILS: Decider[EmailCommand, Email, EmailEvent] = Decider(
    room="people", category="emails", initial=Email(), decide=decide_email, evolve=evolve_email
)
SESSIONS: Decider[SessionCommand, Session | None, SessionEvent] = Decider(
    room="people", category="sessions", initial=None, decide=decide_session, evolve=evolve_session
)
