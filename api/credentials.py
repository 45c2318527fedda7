"""Routes of programs that fetch short-lived tokens (OAuth 2 client credentials)."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from api.auth import AnyCaller, Organisation
from api.ports import Ports
from api.positions import Read
from api.preconditions import tag
from api.problems import NOT_FOUND, PRECONDITION_FAILED, SCOPE_TOO_WIDE, At, Problem, answers
from api.scopes import Scopes, covers
from api.tokens import token_ref
from api.wire import Accepted, Cursor, Limit, Line, Page, Time, Wire, Wired, found, page_of, proper_id
from api.writing import Write
from commands.credentials import CLIENTS, RegisterClient, RemoveClient, RotateClientSecret
from commands.dispatch import Committed
from events.streams import StreamId
from projections import credentials as rows

router = APIRouter(prefix="/oauth-clients", tags=["oauth-clients"])
_SEEN_SECONDS = 2.0


class NewClient(Wire):
    label: Line
    scopes: Annotated[Scopes, Field(description="What its tokens may, such as `calls:read`. None: everything that the asker may.")] = ()


class ClientRotation(Wire):
    overlap_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, description="So long the old secret goes on.")] = 86_400


class Client(Wire):
    """A program, never with its secret. `last_used_at`: the hour in which it last used a token."""

    id: str
    label: str
    scopes: tuple[str, ...]
    registered_at: Time
    removed_at: Time | None
    last_used_at: Time | None


class ClientWithSecret(Wire):
    """`client_secret` is shown this once; keep it. `POST /oauth/token` gives tokens for it."""

    client_id: str
    client_secret: str
    label: str
    scopes: tuple[str, ...]


@router.post("", status_code=201, responses=answers(SCOPE_TOO_WIDE, PRECONDITION_FAILED))
async def register_client(body: NewClient, organisation: Organisation, who: AnyCaller, ports: Wired, write: Write) -> ClientWithSecret:
    """Register a program. Its tokens may nothing that the asker may not."""
    scopes = body.scopes or who.scopes
    if not covers(who.scopes, scopes):
        detail = f"The asker has only {', '.join(who.scopes)}."
        raise Problem(SCOPE_TOO_WIDE, detail, errors=[At(pointer="#/scopes", detail="too wide")])
    client_id = write.intent.fresh_id("cli_")
    secret = _secret(ports, client_id, write.intent.seed)
    command = RegisterClient(label=body.label, secret_ref=token_ref(ports.keyring, secret), scopes=scopes)
    await _seen(ports, await write(CLIENTS, StreamId(organisation, CLIENTS.category, client_id), command))
    write.created_at(f"/v1/oauth-clients/{client_id}")
    return ClientWithSecret(client_id=client_id, client_secret=secret, label=body.label, scopes=scopes)


@router.get("")
async def list_clients(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Client]:
    """The organisation's programs, removed ones included."""
    found_rows, after = await read.page(rows.CLIENTS, organisation, limit=limit, cursor=cursor)
    return page_of([await _view(read, row) for row in found_rows], after)


@router.get("/{client_id}", responses=answers(NOT_FOUND))
async def get_client(client_id: str, organisation: Organisation, read: Read, response: Response) -> Client:
    """One program."""
    row = found(await read.row(rows.CLIENTS, _stream(organisation, client_id)), "client")
    tag(response, row.version)
    return await _view(read, row)


@router.post("/{client_id}/rotate", status_code=201, responses=answers(NOT_FOUND, SCOPE_TOO_WIDE, PRECONDITION_FAILED))
async def rotate_client_secret(
    client_id: str, body: ClientRotation, organisation: Organisation, who: AnyCaller, ports: Wired, write: Write
) -> ClientWithSecret:
    """Give the program another secret. The old one goes on for a while."""
    stream = _stream(organisation, client_id)
    client = ports.access.client(stream.id)
    if client is None or client.tenant != organisation:
        client = None
    known = found(client, "client")
    if not covers(who.scopes, known.scopes):
        raise Problem(SCOPE_TOO_WIDE, f"The asker has only {', '.join(who.scopes)}.")
    secret = _secret(ports, stream.id, write.intent.seed)
    end = write.now + timedelta(seconds=body.overlap_seconds)
    command = RotateClientSecret(secret_ref=token_ref(ports.keyring, secret), old_expires_at=end)
    await _seen(ports, await write(CLIENTS, stream, command))
    write.created_at(f"/v1/oauth-clients/{stream.id}")
    return ClientWithSecret(client_id=stream.id, client_secret=secret, label=known.label, scopes=known.scopes)


@router.delete("/{client_id}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def remove_client(client_id: str, organisation: Organisation, ports: Wired, write: Write) -> Accepted:
    """Remove the program. Tokens that it has open nothing from the next request on."""
    return await _seen(ports, await write(CLIENTS, _stream(organisation, client_id), RemoveClient()))


def _secret(ports: Ports, client_id: str, seed: bytes) -> str:
    """It follows from the seed, so that a repeated request has the same answer; only who holds the key ring could draw it again."""
    return "".join(ports.keyring.reference(client_id, f"client secret {part} {seed.hex()}") for part in (1, 2))


async def _seen(ports: Ports, committed: Committed) -> Accepted:
    await ports.api_keys.wait_for([committed.position], _SEEN_SECONDS)
    return Accepted(position=str(committed.position))


def _stream(organisation: str, text: str) -> StreamId:
    return StreamId(organisation, CLIENTS.category, proper_id(text, "cli_", "client"))


async def _view(read: Read, row: rows.Client) -> Client:
    used = await read.row(rows.CREDENTIAL_USES, StreamId(row.tenant, rows.CREDENTIAL_USES.category, row.id))
    return Client(
        id=row.id, label=row.label, scopes=row.scopes, registered_at=row.registered_at, removed_at=row.removed_at,
        last_used_at=None if used is None else used.hour,
    )  # fmt: skip
