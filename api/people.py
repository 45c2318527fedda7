"""Routes of a person who is signed in, about themselves: name, password, second factor, memberships, sessions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from api import totp
from api.auth import SignedIn
from api.own import Own
from api.owners import release_owner
from api.ports import Ports, TooManyPasswords
from api.preconditions import tag
from api.problems import NOT_FOUND, PERSON_ONLY, SECOND_FACTOR_NEEDED, SIGN_IN_FAILED, SIGN_IN_UNAVAILABLE, answers
from api.sealing import opened
from api.signing_in import Code, GivenPassword, NewPassword, busy, counted, failed, passwords_of, proven
from api.wire import Accepted, Line, Page, Time, Wire, Wired, found, nothing, page_of
from api.writing import Write, Writing
from commands.dispatch import Committed
from commands.memberships import MEMBERSHIPS, EndMembership, LastOwner, OwnerNotReleased
from commands.people import PEOPLE, SESSIONS, DisableTotp, EnableTotp, EndSession, OfferTotp, RenamePerson, SetPassword, TotpNotOffered
from events.identifiers import InvalidIdentifier, read_identifier
from events.streams import PLATFORM, StreamId
from projections.people import Person

router = APIRouter(prefix="/people", tags=["people"])
_SEEN_SECONDS = 2.0


class Me(Wire):
    id: str
    email: str | None
    name: str | None
    registered_at: Time
    signed_in_at: Time | None
    second_factor: bool
    recovery_codes_left: int


class OwnName(Wire):
    name: Line


class PasswordChange(Wire):
    password: GivenPassword
    code: Code = None
    new_password: NewPassword


class Proving(Wire):
    password: GivenPassword
    code: Code = None


class Offer(Wire):
    """What a code generator takes; the address is for a picture that it reads."""

    secret: str
    address: str


class Confirmation(Wire):
    code: Annotated[str, Field(pattern=r"^[0-9]{6}$")]


class RecoveryCodes(Wire):
    """Each opens once, in place of a generator's code. They are shown this once; keep them."""

    recovery_codes: list[str]


class Belonging(Wire):
    """An organisation that the person belongs to. `scopes` are what the role gives there; none: everything."""

    organisation_id: str
    organisation: str
    role: str
    scopes: tuple[str, ...]
    since: Time


class OpenSession(Wire):
    id: str
    opened_at: Time
    refreshed_at: Time
    expires_at: Time
    methods: tuple[str, ...]
    current: bool


async def myself(who: SignedIn, ports: Wired) -> Person:
    """The person who asks."""
    return found(ports.access.person(who.person_id), "person")


Myself = Annotated[Person, Depends(myself)]


@router.get("/me", responses=answers(PERSON_ONLY))
async def get_me(ports: Wired, own: Own, response: Response) -> Me:
    """Who is signed in."""
    me = found(await own.person(), "person")
    tag(response, me.version)
    return Me(
        id=me.id, email=opened(ports.keyring, me.email), name=opened(ports.keyring, me.name), registered_at=me.registered_at,
        signed_in_at=me.signed_in_at, second_factor=me.totp is not None, recovery_codes_left=len(me.recovery),
    )  # fmt: skip


@router.patch("/me", responses=answers(PERSON_ONLY))
async def rename_me(me: Myself, body: OwnName, ports: Wired, write: Write) -> Accepted:
    """Go by another name."""
    return await _seen(ports, await write(PEOPLE, _stream(me), RenamePerson(name=ports.keyring.seal(me.id, body.name))))


@router.post("/me/password", status_code=202, responses=answers(PERSON_ONLY, SIGN_IN_FAILED, SECOND_FACTOR_NEEDED, SIGN_IN_UNAVAILABLE))
async def change_password(me: Myself, body: PasswordChange, who: SignedIn, request: Request, ports: Wired, write: Write) -> Accepted:
    """Have another password from now on. Every other session of the person ends."""
    await counted(request, ports, me.email_ref, who.session_id)
    await proven(ports, me, body.password, body.code)
    try:
        kept = await passwords_of(ports).hashed(body.new_password)
    except TooManyPasswords as cause:
        raise busy() from cause
    committed = await write(PEOPLE, _stream(me), SetPassword(password=ports.keyring.seal(me.id, kept)))
    for each in ports.access.sessions_of(me.id):
        if each.id != who.session_id:
            await write(SESSIONS, StreamId(PLATFORM, "sessions", each.id), EndSession(reason="password-changed"), step=each.id, aside=True)
    return await _seen(ports, committed)


@router.post("/me/totp", responses=answers(PERSON_ONLY))
async def offer_totp(me: Myself, ports: Wired, write: Write) -> Offer:
    """Begin to use a code generator: it takes the secret of this answer, and a code of it confirms that it did."""
    drawn = bytes.fromhex(ports.keyring.reference(me.id, f"totp {write.intent.seed.hex()}"))
    secret = totp.secret_of(drawn + drawn[:4])
    await _seen(ports, await write(PEOPLE, _stream(me), OfferTotp(secret=ports.keyring.seal(me.id, secret))))
    return Offer(secret=secret, address=totp.address_of(secret, opened(ports.keyring, me.email) or me.id))


@router.post("/me/totp/confirm", responses=answers(PERSON_ONLY, SIGN_IN_FAILED, TotpNotOffered))
async def confirm_totp(me: Myself, body: Confirmation, ports: Wired, write: Write) -> RecoveryCodes:
    """Use it from now on. The codes in this answer are for its loss."""
    secret = opened(ports.keyring, me.offered)
    step = 0 if secret is None else totp.step_of(secret, body.code, write.now)
    if secret is not None and not step:
        raise failed()
    codes = totp.recovery_codes(ports.keyring, me.id, write.intent.seed)
    kept = tuple(totp.recovery_ref(ports.keyring, me.id, each) for each in codes)
    await _seen(ports, await write(PEOPLE, _stream(me), EnableTotp(step=step, recovery=kept)))
    return RecoveryCodes(recovery_codes=list(codes))


@router.post("/me/totp/disable", status_code=202, responses=answers(PERSON_ONLY, SIGN_IN_FAILED, SECOND_FACTOR_NEEDED, SIGN_IN_UNAVAILABLE))
async def disable_totp(me: Myself, body: Proving, who: SignedIn, request: Request, ports: Wired, write: Write) -> Accepted:
    """Sign in by the password alone again."""
    await counted(request, ports, me.email_ref, who.session_id)
    await proven(ports, me, body.password, body.code)
    return await _seen(ports, await write(PEOPLE, _stream(me), DisableTotp()))


@router.get("/me/memberships", responses=answers(PERSON_ONLY))
async def list_my_memberships(own: Own) -> Page[Belonging]:
    """The organisations that the person belongs to. Each is named in `Aybiza-Organisation` to act in it."""
    belongings = [
        Belonging(
            organisation_id=each.tenant, organisation=await own.name_of(each.tenant), role=each.role,
            scopes=await own.scopes_of(each.tenant, each.role), since=each.since,
        )
        for each in await own.memberships()
    ]  # fmt: skip
    return page_of(belongings, None)


@router.delete("/me/memberships/{organisation_id}", status_code=202, responses=answers(PERSON_ONLY, NOT_FOUND, LastOwner, OwnerNotReleased))
async def leave_organisation(
    me: Myself, organisation_id: Annotated[str, Path(description="`AYB-XXXX-XXXX-XXXX`, in any spelling.")], ports: Wired, write: Write
) -> Accepted:
    """Belong to an organisation no more. Its last owner makes somebody else an owner first."""
    try:
        named = read_identifier(organisation_id)
    except InvalidIdentifier as cause:
        raise nothing("membership") from cause
    if ports.access.membership(named, me.id) is None:
        raise nothing("membership")
    stream = StreamId(named, "memberships", me.id)
    released = await release_owner(ports, write, stream)
    return await _seen(ports, await write(MEMBERSHIPS, stream, EndMembership(reason="left", released=released)))


@router.get("/me/sessions", responses=answers(PERSON_ONLY))
async def list_my_sessions(who: SignedIn, own: Own) -> Page[OpenSession]:
    """Where the person is signed in."""
    shown = [
        OpenSession(
            id=each.id, opened_at=each.opened_at, refreshed_at=each.refreshed_at, expires_at=each.expires_at, methods=each.methods,
            current=each.id == who.session_id,
        )
        for each in await own.sessions()
    ]  # fmt: skip
    return page_of(shown, None)


@router.delete("/me/sessions/{session_id}", status_code=202, responses=answers(PERSON_ONLY, NOT_FOUND))
async def end_session(
    me: Myself, session_id: Annotated[str, Path(description="Of the list; `current`: this one.")], who: SignedIn, ports: Wired, write: Write
) -> Accepted:
    """Sign out, here or elsewhere. The session's tokens open nothing any more."""
    named = who.session_id if session_id == "current" else session_id
    session = ports.access.session(named)
    if session is None or session.person_id != me.id:
        raise nothing("session")
    return await _seen(ports, await _end(write, named))


async def _end(write: Writing, session_id: str) -> Committed:
    return await write(SESSIONS, StreamId(PLATFORM, "sessions", session_id), EndSession(reason="signed-out"))


async def _seen(ports: Ports, committed: Committed) -> Accepted:
    await ports.api_keys.wait_for([committed.position], _SEEN_SECONDS)
    return Accepted(position=str(committed.position))


def _stream(me: Person) -> StreamId:
    return StreamId(PLATFORM, "people", me.id)
