"""Routes by which people come in: sign-in by password and code, refreshing, and joining by an invitation. They need no key.

What a browser gets are bearer tokens and no cookies: nothing is sent along with a request that another site made, so there is nothing to
forge. The page keeps the access token in memory; its refresh token opens once, and the second use of one ends the session.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, Field, StringConstraints

from api import totp
from api.auth import Caller
from api.idempotency import Intent
from api.ports import NotVerified, Passwords, Ports, TooManyPasswords
from api.problems import (
    SECOND_FACTOR_NEEDED,
    SIGN_IN_FAILED,
    SIGN_IN_UNAVAILABLE,
    TOO_MANY,
    UNAUTHENTICATED,
    Problem,
    answers,
)
from api.sealing import opened
from api.throttle import Throttle, place_of
from api.tokens import (
    ACCESS_SECONDS,
    BEARER,
    Claims,
    Refresh,
    device_token,
    known_device,
    read_refresh,
    sign,
    sign_refresh,
)
from api.wire import Wire, Wired
from api.writing import Writing
from commands.people import (
    EMAILS,
    IDLE,
    PEOPLE,
    SESSIONS,
    CodeUsed,
    EndSession,
    NoteFailedSignIn,
    OpenSession,
    RefreshSession,
    SessionOver,
    SignIn,
)
from events.identifiers import derived_id
from events.people import SessionEnded
from events.positions import Position
from events.sealing import KeyRing
from events.streams import PLATFORM, StreamId
from projections.people import Person

router = APIRouter(prefix="/auth", tags=["sign-in"])
_SESSION = timedelta(days=30)
# Where a person is signed in oftener than this, the place that they left alone for longest is signed out.
_MOST_SESSIONS = 20
# Signed in is who can be seen to be, in this process at least; not longer than this is waited for that.
_SEEN_SECONDS = 2.0


def _address(text: str) -> str:
    if not re.fullmatch(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f.]+(\.[^@\s\x00-\x1f\x7f.]+)+", text):
        raise ValueError("must be an e-mail address")
    return unicodedata.normalize("NFC", text).lower()


Email = Annotated[str, StringConstraints(strip_whitespace=True, max_length=254), AfterValidator(_address)]
GivenPassword = Annotated[str, Field(min_length=1, max_length=200)]
NewPassword = Annotated[str, Field(min_length=12, max_length=200, description="Twelve characters and more; which ones is yours to say.")]
Code = Annotated[str | None, Field(max_length=20, description="Of the generator, or a recovery code, where one was set up.")]


class Credentials(Wire):
    email: Email
    password: GivenPassword
    code: Code = None
    device_token: Annotated[str | None, Field(max_length=200, description="As the last sign-in on this device gave it.")] = None


class Assertion(Wire):
    """What another house wrote about a person."""

    assertion: Annotated[str, Field(min_length=1, max_length=50_000)]


class RefreshToken(Wire):
    refresh_token: Annotated[str, Field(max_length=200)]


class Session(Wire):
    """`access_token` goes into `Authorization: Bearer …` for `expires_in` seconds; then `refresh_token` fetches the next pair.

    `device_token` comes with a sign-in and is for the next one on this device: its attempts are counted by themselves. It opens nothing.
    """

    person_id: str
    session_id: str
    access_token: str
    token_type: Literal["Bearer"] = BEARER
    expires_in: int = ACCESS_SECONDS
    refresh_token: str
    device_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """By what somebody proved who they are; `step` or `recovery` where a code was among it."""

    methods: tuple[str, ...]
    step: int = 0
    recovery: str = ""


def email_ref(keyring: KeyRing, email: str) -> str:
    """The keyed hash by which an address is found."""
    return keyring.reference(PLATFORM, f"email {email}")


async def proven(ports: Ports, person: Person | None, password: str, code: str | None) -> Proof:
    """Takes as long for nobody as for somebody. Raises Problem."""
    kept = None if person is None else opened(ports.keyring, person.password)
    try:
        fits = await passwords_of(ports).fits(password, kept)
    except TooManyPasswords as cause:
        raise busy() from cause
    if person is None or not fits:
        raise failed()
    secret = opened(ports.keyring, person.totp)
    if person.totp is None:
        return Proof(methods=("password",))
    if not code:
        raise Problem(SECOND_FACTOR_NEEDED, SECOND_FACTOR_NEEDED.meaning, headers={"WWW-Authenticate": "Code"})
    if secret is not None and totp.is_generated(code):
        if step := totp.step_of(secret, code, ports.clock()):
            return Proof(methods=("password", "totp"), step=step)
    elif left := totp.left_of(ports.keyring, person.id, code, person.recovery):
        return Proof(methods=("password", "recovery-code"), recovery=left)
    raise failed()


def passwords_of(ports: Ports) -> Passwords:
    """Raises Problem where nobody signs in by one."""
    if ports.passwords is None:
        raise busy()
    return ports.passwords


def busy() -> Problem:
    return Problem(SIGN_IN_UNAVAILABLE, SIGN_IN_UNAVAILABLE.meaning, headers={"Retry-After": "1"})


def failed() -> Problem:
    return Problem(SIGN_IN_FAILED, SIGN_IN_FAILED.meaning, headers={"WWW-Authenticate": "Password"})


@router.post("/sessions", status_code=201, responses=answers(SIGN_IN_FAILED, SECOND_FACTOR_NEEDED, SIGN_IN_UNAVAILABLE, TOO_MANY, CodeUsed))
async def sign_in(body: Credentials, request: Request, response: Response, ports: Wired) -> Session:
    """Sign in. Nobody learns whether an address is known; attempts are counted, and a failed one is a fact.

    Attempts count by the address and the place that they come from, longer to wait for with each that follows: so a stranger's do not stop
    those of a person elsewhere. Strangers at many places together can use up what an address has for places that it is not known from; a
    device that sends its `device_token` is not among these.
    """
    reference = email_ref(ports.keyring, body.email)
    await counted(request, ports, reference, known_device(ports.keyring, reference, body.device_token))
    person = ports.access.person_by_email(reference)
    try:
        proof = await proven(ports, person, body.password, body.code)
    except Problem as problem:
        if problem.kind is SIGN_IN_FAILED:
            await _failed(request, response, ports, reference)
        raise
    assert person is not None  # noqa: S101 - nobody proves anything
    return await begun(writing_of(request, response, ports, person.id), ports, person.id, proof)


@router.post("/sessions/by/{provider}", status_code=201, responses=answers(SIGN_IN_FAILED, TOO_MANY))
async def sign_in_by(provider: str, body: Assertion, request: Request, response: Response, ports: Wired) -> Session:
    """Sign in by another house's word for who one is. The person must have joined an organisation before."""
    await counted(request, ports, "")
    house = ports.identity_providers.get(provider)
    if house is None:
        raise failed()
    try:
        person = ports.access.person_by_email(email_ref(ports.keyring, _address(await house.verified(body.assertion))))
    except (NotVerified, ValueError) as cause:
        raise failed() from cause
    if person is None:
        raise failed()
    return await begun(writing_of(request, response, ports, person.id), ports, person.id, Proof(methods=(f"sso:{provider[:40]}",)))


@router.post("/sessions/refresh", responses=answers(UNAUTHENTICATED, TOO_MANY))
async def refresh_session(body: RefreshToken, request: Request, response: Response, ports: Wired) -> Session:
    """The next pair of tokens for the last refresh token. One that was used before ends the session: it has two holders."""
    given = read_refresh(ports.keyring, body.refresh_token)
    if given is None:
        raise _over("The refresh token is none that was given here.")
    stream = StreamId(PLATFORM, "sessions", given.session_id)
    session = ports.access.session(given.session_id)
    if session is None:
        raise _over("The session is over; sign in again.")
    write = writing_of(request, response, ports, session.person_id)
    try:
        committed = await write(SESSIONS, stream, RefreshSession(generation=given.generation, at=ports.clock()))
    except SessionOver as cause:
        raise _over(str(cause)) from cause
    await ports.api_keys.wait_for([committed.position], _SEEN_SECONDS)
    if any(isinstance(each.fact, SessionEnded) for each in committed.facts):
        raise _over("The refresh token was used before, so somebody else may hold it: the session is ended. Sign in again.")
    return _shown(ports, session.person_id, given.session_id, given.generation + 1)


async def begun(write: Writing, ports: Ports, person_id: str, proof: Proof, *before: Position) -> Session:
    """A session of somebody who proved who they are, and its first tokens."""
    session_id = write.intent.fresh_id("ses_")
    signed = SignIn(session_id=session_id, methods=proof.methods, step=proof.step, recovery=proof.recovery)
    known = await write(PEOPLE, StreamId(PLATFORM, "people", person_id), signed, step="sign-in")
    session = OpenSession(person_id=person_id, methods=proof.methods, at=write.now, expires_at=write.now + _SESSION)
    known_now = await write(SESSIONS, StreamId(PLATFORM, "sessions", session_id), session, step="session")
    await _pruned(write, ports, person_id, session_id)
    await ports.api_keys.wait_for([*before, known.position, known_now.position], _SEEN_SECONDS)
    write.created_at(f"/v1/people/me/sessions/{session_id}")
    person = ports.access.person(person_id)
    device = None if person is None else device_token(ports.keyring, person.email_ref, session_id)
    return _shown(ports, person_id, session_id, 1).model_copy(update={"device_token": device})


async def _pruned(write: Writing, ports: Ports, person_id: str, but: str) -> None:
    """End what is over by its time, and what is too much: so a person has a bounded number of sessions, in rows as in memory."""
    others = [each for each in ports.access.sessions_of(person_id) if each.id != but]
    over = [each for each in others if each.expires_at <= write.now or write.now - each.refreshed_at > IDLE]
    living = sorted((each for each in others if each not in over), key=lambda each: each.refreshed_at, reverse=True)
    for reason, ended in ("expired", over), ("too-many", living[_MOST_SESSIONS - 1 :]):
        for each in ended:
            await write(SESSIONS, StreamId(PLATFORM, "sessions", each.id), EndSession(reason=reason), step=each.id, aside=True)


def _shown(ports: Ports, person_id: str, session_id: str, generation: int) -> Session:
    ends = ports.clock() + timedelta(seconds=ACCESS_SECONDS)
    return Session(
        person_id=person_id, session_id=session_id, access_token=sign(ports.keyring, Claims(subject=session_id, expires_at=ends)),
        refresh_token=sign_refresh(ports.keyring, Refresh(session_id, generation)),
    )  # fmt: skip


async def counted(request: Request, ports: Ports, reference: str, device: str = "") -> None:
    """One attempt to prove something, at an address where there is one. Raises Problem when there were too many.

    `device`: one from which somebody proved it before; what others try elsewhere is nothing to it.
    """
    throttle: Throttle = request.app.state.throttle
    place = place_of(ports.keyring, request)
    await throttle.admit(ports.sign_ins_from_one, place)
    if reference:
        for policy in ports.sign_ins:
            await throttle.admit(policy, f"{reference}:{device or place}")
        if not device:
            await throttle.admit(ports.sign_ins_to_one, reference)


async def _failed(request: Request, response: Response, ports: Ports, reference: str) -> None:
    """A fact of the address, known or not: so that it takes as long, and is there for whoever looks into an attack."""
    write = writing_of(request, response, ports, "")
    await write(EMAILS, StreamId(PLATFORM, "emails", reference), NoteFailedSignIn(at=write.now))


def writing_of(request: Request, response: Response, ports: Ports, person_id: str) -> Writing:
    """The writing of somebody whom the gate does not know (yet)."""
    now = ports.clock()
    seed = ports.draw(16)
    intent = Intent(seed=seed, digest=derived_id("sign-in", seed), began_ms=int(now.timestamp() * 1000))
    who = Caller(organisation_id=None, actor=f"person:{person_id}" if person_id else "anonymous", is_operator=False, person_id=person_id)
    return Writing(dispatch=ports.dispatch, who=who, intent=intent, expected_versions=(), now=now, request=request, response=response)


def _over(detail: str) -> Problem:
    return Problem(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": 'Bearer realm="aybiza"'})
