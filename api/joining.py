"""The route by which people join an organisation: by the token of an invitation, which opens once."""

import hmac
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from api.ports import Ports, TooManyPasswords
from api.problems import INVITATION_TOKEN, SECOND_FACTOR_NEEDED, SIGN_IN_FAILED, SIGN_IN_UNAVAILABLE, TOO_MANY, Problem, answers
from api.sealing import opened
from api.signing_in import Code, NewPassword, Proof, Session, begun, busy, counted, passwords_of, proven, writing_of
from api.tokens import read_invitation, token_ref
from api.wire import Line, Wire, Wired
from api.writing import Writing
from commands.memberships import INVITATIONS, MEMBERSHIPS, AcceptInvitation, GrantMembership, InvitationOver
from commands.people import EMAILS, PEOPLE, CodeUsed, EmailTaken, PersonExists, RegisterPerson, ReserveEmail
from events.identifiers import derived_id, user_id
from events.streams import PLATFORM, StreamId
from projections.memberships import Invitation

router = APIRouter(prefix="/auth", tags=["sign-in"])
_USER_BITS = 45


class Joining(Wire):
    """Who has an account gives its password (and code); who has none yet gives the one that it shall have, and a name."""

    token: Annotated[str, Field(max_length=200)]
    password: NewPassword
    code: Code = None
    name: Line | None = None


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
    write = writing_of(request, response, ports, person_id)
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
    return await begun(write, ports, person_id, proof, joined.position)


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
