"""Routes of organisations: businesses, and the keys that act for them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field

from api.auth import AnyCaller, MintedKey, Operator, mint
from api.idempotency import Intent
from api.ports import Ports
from api.positions import Read
from api.preconditions import tag
from api.problems import (
    INVALID_REQUEST,
    NOT_FOUND,
    OPERATOR_ONLY,
    ORGANISATION_NEEDED,
    PERSON_ONLY,
    PRECONDITION_FAILED,
    SCOPE_TOO_WIDE,
    At,
    Problem,
    answers,
)
from api.scopes import Scopes, covers
from api.versions import FIRST
from api.wire import Accepted, Cursor, GivenTime, Limit, Line, Page, Time, Wire, Wired, found, nothing, page_of
from api.writing import Write
from commands.dispatch import Committed
from commands.organisations import (
    ORGANISATIONS,
    ApiKeyRevokedAlready,
    CreateOrganisation,
    IssueApiKey,
    OrganisationExists,
    RenameOrganisation,
    RevokeApiKey,
    RotateApiKey,
)
from events.identifiers import InvalidIdentifier, derived_id, organisation_id, read_identifier
from events.streams import StreamId
from projections import credentials as uses
from projections import organisations as rows

router = APIRouter(prefix="/organisations", tags=["organisations"])
_DRAW_BITS = 55
# A key opens (or no longer does) when its answer is out, in this process at least; not longer than this is waited for that.
_KEY_SECONDS = 2.0
_MOST_USES = 10_000


class NewOrganisation(Wire):
    name: Line
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", description="Its home, where its facts live.")] = "us-east-1"
    parent_id: Annotated[str | None, Field(max_length=40, description="The organisation whose part it is; for good.")] = None


class Rename(Wire):
    name: Line


class Organisation(Wire):
    id: str
    name: str
    region: str
    parent_id: str | None = None


class NewKey(Wire):
    label: Line
    scopes: Annotated[Scopes, Field(description="What it may, such as `calls:read`. None: everything that the issuing key may.")] = ()
    expires_at: Annotated[GivenTime | None, Field(description="It opens nothing from then on. Left out: never.")] = None
    personal: Annotated[bool, Field(description="Your own: it may no more than you may, and only while you belong here.")] = False


class KeyRotation(Wire):
    overlap_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, description="So long the old key goes on.")] = 86_400


class ApiKey(Wire):
    """A key as it is listed: never with its secret."""

    id: str
    label: str
    scopes: tuple[str, ...] = Field(description="What it may; none: everything.")
    issued_at: Time
    revoked_at: Time | None
    expires_at: Time | None
    api_version: str = Field(description="The date version in which its holder is answered, unless a request names another.")
    person_id: Annotated[str | None, Field(description="Whose own key it is; null: the organisation's.")] = None
    last_used_at: Annotated[Time | None, Field(description="The hour in which it was last used.")] = None


class IssuedKey(Wire):
    """A fresh key. `key` is shown this once; keep it."""

    id: str
    label: str
    key: str
    scopes: tuple[str, ...] = ()
    expires_at: Time | None = None


class JoinedOrganisation(Organisation):
    """A new organisation with its first key."""

    api_key: IssuedKey


async def own(
    organisation_id: Annotated[str, Path(description="`AYB-XXXX-XXXX-XXXX`, in any spelling.")], who: AnyCaller
) -> str:  # fmt: skip
    """The organisation in the path, when the caller may know of it."""
    try:
        named = read_identifier(organisation_id)
    except InvalidIdentifier as cause:
        raise nothing("organisation") from cause
    if not named.startswith("AYB-") or (not who.is_operator and who.organisation_id != named):
        raise nothing("organisation")
    return named


Own = Annotated[str, Depends(own)]


@router.post("", status_code=201, responses=answers(OPERATOR_ONLY, OrganisationExists, PRECONDITION_FAILED))
async def create_organisation(body: NewOrganisation, _: Operator, ports: Wired, write: Write) -> JoinedOrganisation:
    """Create an organisation. Only the platform's operator may; the answer has its first API key."""
    parent = _parent(ports, body.parent_id)
    identity = _fresh_id(write.intent)
    stream = _stream(identity)
    key = mint(ports.keyring, identity, write.intent.seed)
    await write(ORGANISATIONS, stream, CreateOrganisation(name=body.name, region=body.region, parent_id=parent))
    first = IssueApiKey(key_id=key.key_id, label="first", secret_hash=key.secret_hash, api_version=ports.versions.newest)
    await _open_at_once(await write(ORGANISATIONS, stream, first, step="first-key"), ports)
    write.created_at(f"/v1/organisations/{identity}")
    return JoinedOrganisation(
        id=identity, name=" ".join(body.name.split()), region=body.region, parent_id=parent or None, api_key=_issued(key, "first")
    )


@router.get("")
async def list_organisations(who: AnyCaller, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Organisation]:
    """The organisations that the key may see: its own, or all of them for the operator."""
    if who.organisation_id is not None:
        row = await read.row(rows.ORGANISATIONS, _stream(who.organisation_id))
        return page_of([] if row is None else [_view(row)], None)
    if not who.is_operator:
        raise Problem(ORGANISATION_NEEDED, ORGANISATION_NEEDED.meaning)
    found_rows, after = await read.page(rows.ORGANISATIONS, None, limit=limit, cursor=cursor)
    return page_of([_view(row) for row in found_rows], after)


@router.get("/{organisation_id}", responses=answers(NOT_FOUND))
async def get_organisation(mine: Own, read: Read, response: Response) -> Organisation:
    """One organisation."""
    row = found(await read.row(rows.ORGANISATIONS, _stream(mine)), "organisation")
    tag(response, row.version)
    return _view(row)


@router.patch("/{organisation_id}", responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def rename_organisation(mine: Own, body: Rename, write: Write) -> Accepted:
    """Give the organisation another name."""
    committed = await write(ORGANISATIONS, _stream(mine), RenameOrganisation(name=body.name))
    return Accepted(position=str(committed.position))


@router.post("/{organisation_id}/api-keys", status_code=201, responses=answers(NOT_FOUND, PERSON_ONLY, SCOPE_TOO_WIDE, PRECONDITION_FAILED))
async def issue_api_key(mine: Own, body: NewKey, who: AnyCaller, ports: Wired, write: Write) -> IssuedKey:
    """Issue a key. Its text is in this answer and nowhere else. It may nothing that the issuing key may not."""
    if body.personal and not who.person_id:
        raise Problem(PERSON_ONLY, PERSON_ONLY.meaning, errors=[At(pointer="#/personal", detail="takes a person who is signed in")])
    # A person's own key that names no scopes is as they are, also when their role changes.
    scopes = body.scopes if body.personal else body.scopes or who.scopes
    if scopes != () and not covers(who.scopes, scopes):
        raise Problem(
            SCOPE_TOO_WIDE, f"The issuing key has only {', '.join(who.scopes)}.", errors=[At(pointer="#/scopes", detail="too wide")]
        )
    key = mint(ports.keyring, mine, write.intent.seed)
    command = IssueApiKey(
        key_id=key.key_id, label=body.label, secret_hash=key.secret_hash, scopes=scopes, expires_at=_utc(body.expires_at),
        api_version=ports.versions.newest, person_id=who.person_id if body.personal else "",
    )  # fmt: skip
    await _open_at_once(await write(ORGANISATIONS, _stream(mine), command), ports)
    write.created_at(f"/v1/organisations/{mine}/api-keys/{key.key_id}")
    return _issued(key, body.label, scopes, body.expires_at)


@router.post(
    "/{organisation_id}/api-keys/{key_id}/rotate",
    status_code=201,
    responses=answers(NOT_FOUND, ApiKeyRevokedAlready, PERSON_ONLY, SCOPE_TOO_WIDE),
)
async def rotate_api_key(mine: Own, key_id: str, body: KeyRotation, who: AnyCaller, ports: Wired, write: Write) -> IssuedKey:
    """Replace a key by a new one that may the same. The old one goes on for a while, so that its holders can change over."""
    # As writes know it: also while the read models are away, and at once after the key was issued here.
    row = found(ports.access.organisation(mine), "organisation")
    old = found(next((each for each in row.keys if each.key_id == key_id), None), "API key")
    if old.person_id not in ("", who.person_id):
        raise Problem(PERSON_ONLY, "The key is a person's own; they replace it themselves, or somebody revokes it.")
    if not old.person_id and not covers(who.scopes, old.scopes):
        raise Problem(SCOPE_TOO_WIDE, f"The asking key has only {', '.join(who.scopes)}.")
    key = mint(ports.keyring, mine, write.intent.seed)
    end = ports.clock() + timedelta(seconds=body.overlap_seconds)
    command = RotateApiKey(key_id=key_id, new_key_id=key.key_id, secret_hash=key.secret_hash, old_expires_at=end)
    await _open_at_once(await write(ORGANISATIONS, _stream(mine), command), ports)
    write.created_at(f"/v1/organisations/{mine}/api-keys/{key.key_id}")
    return _issued(key, old.label, old.scopes)


@router.get("/{organisation_id}/api-keys", responses=answers(NOT_FOUND))
async def list_api_keys(mine: Own, read: Read) -> Page[ApiKey]:
    """All keys that were ever issued, in order, without their secrets."""
    row = found(await read.row(rows.ORGANISATIONS, _stream(mine)), "organisation")
    used, _ = await read.page(uses.CREDENTIAL_USES, mine, limit=_MOST_USES, cursor=None)
    hours = {each.id: each.hour for each in used}
    return page_of([_key(key, hours.get(key.key_id)) for key in row.keys], None)


@router.get("/{organisation_id}/api-keys/{key_id}", responses=answers(NOT_FOUND))
async def get_api_key(mine: Own, key_id: str, read: Read) -> ApiKey:
    """One key, without its secret."""
    row = found(await read.row(rows.ORGANISATIONS, _stream(mine)), "organisation")
    key = found(next((key for key in row.keys if key.key_id == key_id), None), "API key")
    used = await read.row(uses.CREDENTIAL_USES, StreamId(mine, uses.CREDENTIAL_USES.category, key.key_id))
    return _key(key, None if used is None else used.hour)


@router.delete("/{organisation_id}/api-keys/{key_id}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def revoke_api_key(mine: Own, key_id: str, ports: Wired, write: Write) -> Accepted:
    """Revoke a key. It opens nothing as soon as the fact is read by every process."""
    committed = await write(ORGANISATIONS, _stream(mine), RevokeApiKey(key_id=key_id))
    await _open_at_once(committed, ports)
    return Accepted(position=str(committed.position))


def _parent(ports: Ports, text: str | None) -> str:
    """The organisation that a new one is part of, known here; empty for none. Raises Problem."""
    if text is None:
        return ""
    try:
        named = read_identifier(text)
    except InvalidIdentifier as cause:
        raise Problem(INVALID_REQUEST, str(cause), errors=[At(pointer="#/parent_id", detail=str(cause))]) from cause
    if ports.access.organisation(named) is None:
        raise Problem(INVALID_REQUEST, "There is no such organisation.", errors=[At(pointer="#/parent_id", detail="names none")])
    return named


async def _open_at_once(committed: Committed, ports: Ports) -> None:
    await ports.api_keys.wait_for([committed.position], _KEY_SECONDS)


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)


def _fresh_id(intent: Intent) -> str:
    draw = int.from_bytes(derived_id("id", intent.seed, "AYB"), "big")
    return organisation_id(draw & (1 << _DRAW_BITS) - 1)


def _stream(identity: str) -> StreamId:
    return StreamId(identity, "organisations", identity)


def _view(row: rows.Organisation) -> Organisation:
    return Organisation(id=row.id, name=row.name, region=row.region, parent_id=row.parent_id or None)


def _key(key: rows.ApiKey, used: datetime | None) -> ApiKey:
    return ApiKey(
        id=key.key_id, label=key.label, scopes=key.scopes, issued_at=key.issued_at, revoked_at=key.revoked_at, expires_at=key.expires_at,
        api_version=key.api_version or FIRST, person_id=key.person_id or None, last_used_at=used,
    )  # fmt: skip


def _issued(key: MintedKey, label: str, scopes: tuple[str, ...] = (), expires_at: datetime | None = None) -> IssuedKey:
    return IssuedKey(id=key.key_id, label=label, key=key.token, scopes=scopes, expires_at=expires_at)
