"""Routes by which people come in: sign-in by password and code, refreshing, and joining by an invitation. They need no key.

What a browser gets are bearer tokens and no cookies: nothing is sent along with a request that another site made, so there is nothing to
forge. The page keeps the access token in memory; its refresh token opens once, and the second use of one ends the session.
"""

import hmac
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
    INVITATION_TOKEN,
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
from api.tokens import ACCESS_SECONDS, BEARER, Claims, Refresh, read_invitation, read_refresh, sign, sign_refresh, token_ref
from api.wire import Line, Wire, Wired
from api.writing import Writing
from commands.memberships import INVITATIONS, MEMBERSHIPS, AcceptInvitation, GrantMembership, InvitationOver
from commands.people import (
    EMAILS,
    PEOPLE,
    SESSIONS,
    CodeUsed,
    EmailTaken,
    NoteFailedSignIn,
    OpenSession,
    PersonExists,
    RefreshSession,
    RegisterPerson,
    ReserveEmail,
    SessionOver,
    SignIn,
)
from events.identifiers import derived_id, user_id
from events.people import SessionEnded
from events.positions import Position
from events.sealing import KeyRing
from events.streams import PLATFORM, StreamId
from projections.memberships import Invitation
from projections.people import Person

router = APIRouter(prefix="/auth", tags=["sign-in"])
_SESSION = timedelta(days=30)
# Signed in is who can be seen to be, in this process at least; not longer than this is waited for that.
_SEEN_SECONDS = 2.0
_USER_BITS = 45


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


class Assertion(Wire):
    """What another house wrote about a person."""

    assertion: Annotated[str, Field(min_length=1, max_length=50_000)]


class RefreshToken(Wire):
    refresh_token: Annotated[str, Field(max_length=200)]


class Joining(Wire):
    """Who has an account gives its password (and code); who has none yet gives the one that it shall have, and a name."""

    token: Annotated[str, Field(max_length=200)]
    password: NewPassword
    code: Code = None
    name: Line | None = None


class Session(Wire):
    """`access_token` goes into `Authorization: Bearer …` for `expires_in` seconds; then `refresh_token` fetches the next pair."""

    person_id: str
    session_id: str
    access_token: str
    token_type: Literal["Bearer"] = BEARER
    expires_in: int = ACCESS_SECONDS
    refresh_token: str


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
    """Sign in. Nobody learns whether an address is known; attempts are counted, and a failed one is a fact."""
    reference = email_ref(ports.keyring, body.email)
    await counted(request, ports, reference)
    person = ports.access.person_by_email(reference)
    try:
        proof = await proven(ports, person, body.password, body.code)
    except Problem as problem:
        if problem.kind is SIGN_IN_FAILED:
            await _failed(request, response, ports, reference)
        raise
    assert person is not None  # noqa: S101 - nobody proves anything
    return await _opened(_writing(request, response, ports, person.id), ports, person.id, proof)


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
    return await _opened(_writing(request, response, ports, person.id), ports, person.id, Proof(methods=(f"sso:{provider[:40]}",)))


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
    write = _writing(request, response, ports, session.person_id)
    try:
        committed = await write(SESSIONS, stream, RefreshSession(generation=given.generation, at=ports.clock()))
    except SessionOver as cause:
        raise _over(str(cause)) from cause
    await ports.api_keys.wait_for([committed.position], _SEEN_SECONDS)
    if any(isinstance(each.fact, SessionEnded) for each in committed.facts):
        raise _over("The refresh token was used before, so somebody else may hold it: the session is ended. Sign in again.")
    return _shown(ports, session.person_id, given.session_id, given.generation + 1)


@router.post(
    "/invitations/accept", status_code=201,
    responses=answers(
        INVITATION_TOKEN, SIGN_IN_FAILED, SECOND_FACTOR_NEEDED, SIGN_IN_UNAVAILABLE, TOO_MANY, InvitationOver, EmailTaken, PersonExists,
        CodeUsed,
    ),
)  # fmt: skip
async def accept_invitation(body: Joining, request: Request, response: Response, ports: Wired) -> Session:
    """Join an organisation by the token of an invitation, and be signed in. The token opens once."""
    invitation = _invitation(ports, body.token)
    await counted(request, ports, invitation.email_ref)
    person = ports.access.person_by_email(invitation.email_ref)
    person_id = person.id if person else _person_id(invitation)
    write = _writing(request, response, ports, person_id)
    if person is None:
        await _register(write, ports, person_id, invitation, body)
        proof = Proof(methods=("invitation",))
    else:
        proof = await proven(ports, person, body.password, body.code)
    stream = StreamId(invitation.tenant, "invitations", invitation.id)
    accept = AcceptInvitation(token_ref=token_ref(ports.keyring, body.token), person_id=person_id, at=ports.clock())
    await write(INVITATIONS, stream, accept, step="accept")
    grant = GrantMembership(role=invitation.role, invitation_id=invitation.id)
    joined = await write(MEMBERSHIPS, StreamId(invitation.tenant, "memberships", person_id), grant, step="join")
    return await _opened(write, ports, person_id, proof, joined.position)


def _invitation(ports: Ports, token: str) -> Invitation:
    """The invitation that a token is for, if it stands. Raises Problem, the same for every token that opens nothing."""
    row = ports.access.invitation(read_invitation(token) or "")
    reference = token_ref(ports.keyring, token)
    if row is None or not hmac.compare_digest(reference, row.token_ref) or row.withdrawn or row.expires_at <= ports.clock():
        raise Problem(INVITATION_TOKEN, INVITATION_TOKEN.meaning)
    return row


def _person_id(invitation: Invitation) -> str:
    """Who joins by it, if they have no account: whoever tries again after half a way goes on with the same person."""
    draw = int.from_bytes(derived_id("person", invitation.id, invitation.token_ref), "big")
    return user_id(draw & (1 << _USER_BITS) - 1)


async def _register(write: Writing, ports: Ports, person_id: str, invitation: Invitation, body: Joining) -> None:
    keyring = ports.keyring
    email = opened(keyring, invitation.email)
    if email is None:
        raise Problem(INVITATION_TOKEN, INVITATION_TOKEN.meaning)
    try:
        kept = await passwords_of(ports).hashed(body.password)
    except TooManyPasswords as cause:
        raise busy() from cause
    await write(EMAILS, StreamId(PLATFORM, "emails", invitation.email_ref), ReserveEmail(person_id=person_id), step="email")
    register = RegisterPerson(
        email=keyring.seal(person_id, email), email_ref=invitation.email_ref, name=keyring.seal(person_id, body.name or email),
        password=keyring.seal(person_id, kept),
    )  # fmt: skip
    await write(PEOPLE, StreamId(PLATFORM, "people", person_id), register, step="register")


async def _opened(write: Writing, ports: Ports, person_id: str, proof: Proof, *before: Position) -> Session:
    session_id = write.intent.fresh_id("ses_")
    signed = SignIn(session_id=session_id, methods=proof.methods, step=proof.step, recovery=proof.recovery)
    known = await write(PEOPLE, StreamId(PLATFORM, "people", person_id), signed, step="sign-in")
    session = OpenSession(person_id=person_id, methods=proof.methods, at=write.now, expires_at=write.now + _SESSION)
    begun = await write(SESSIONS, StreamId(PLATFORM, "sessions", session_id), session, step="session")
    await ports.api_keys.wait_for([*before, known.position, begun.position], _SEEN_SECONDS)
    write.created_at(f"/v1/people/me/sessions/{session_id}")
    return _shown(ports, person_id, session_id, 1)


def _shown(ports: Ports, person_id: str, session_id: str, generation: int) -> Session:
    ends = ports.clock() + timedelta(seconds=ACCESS_SECONDS)
    return Session(
        person_id=person_id, session_id=session_id, access_token=sign(ports.keyring, Claims(subject=session_id, expires_at=ends)),
        refresh_token=sign_refresh(ports.keyring, Refresh(session_id, generation)),
    )  # fmt: skip


async def counted(request: Request, ports: Ports, reference: str) -> None:
    """One attempt to prove something, at an address where there is one. Raises Problem when there were too many."""
    throttle: Throttle = request.app.state.throttle
    await throttle.admit(ports.sign_ins_from_one, place_of(ports.keyring, request))
    if reference:
        await throttle.admit(ports.sign_ins, reference)


async def _failed(request: Request, response: Response, ports: Ports, reference: str) -> None:
    """A fact of the address, known or not: so that it takes as long, and is there for whoever looks into an attack."""
    write = _writing(request, response, ports, "")
    await write(EMAILS, StreamId(PLATFORM, "emails", reference), NoteFailedSignIn(at=write.now))


def _writing(request: Request, response: Response, ports: Ports, person_id: str) -> Writing:
    """The writing of somebody whom the gate does not know (yet)."""
    now = ports.clock()
    seed = ports.draw(16)
    intent = Intent(seed=seed, digest=derived_id("sign-in", seed), began_ms=int(now.timestamp() * 1000))
    who = Caller(organisation_id=None, actor=f"person:{person_id}" if person_id else "anonymous", is_operator=False, person_id=person_id)
    return Writing(dispatch=ports.dispatch, who=who, intent=intent, expected_version=None, now=now, request=request, response=response)


def _over(detail: str) -> Problem:
    return Problem(UNAUTHENTICATED, detail, headers={"WWW-Authenticate": 'Bearer realm="aybiza"'})
