"""Routes of look-ups: any name that people or programs have for a thing, in any spelling, leads to it."""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path

from api.auth import AnyCaller, Caller, Organisation
from api.ports import Ports
from api.positions import Read, Reading
from api.problems import NOT_FOUND, answers
from api.scopes import allows
from api.sealing import CALLER, Person, e164
from api.wire import Wire, Wired, found
from events.identifiers import InvalidIdentifier, read_identifier
from events.recorded import EventId
from events.streams import PLATFORM, StreamId
from projections import (
    agents,
    calls,
    consents,
    credentials,
    environments,
    flags,
    memberships,
    numbers,
    operations,
    organisations,
    webhooks,
)
from projections.table import Table

router = APIRouter(prefix="/lookup", tags=["lookup"])
_HEX = re.compile(r"(?:(CALL|AGT|CALLER|INV|CLI|OP|WEBHOOK)[_\-: ]?)?([0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12})\Z")
_KEY = re.compile(r"KEY[_\-: ]?([0-9A-Z]{16})\Z")
# The carrier's names for a call and for the socket that brings its sound.
_SID = re.compile(r"(CA|MZ)[_\-: ]?([0-9A-F]{32})\Z")
_SIDS = {"CA": "call_sid", "MZ": "stream_sid"}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}\Z")
_HEX_IDS: tuple[tuple[str, Table[Any], str, str], ...] = (
    ("call_", calls.CALLS, "call", "/v1/calls"),
    ("agt_", agents.AGENTS, "agent", "/v1/agents"),
    ("inv_", memberships.INVITATIONS, "invitation", "/v1/invitations"),
    ("cli_", credentials.CLIENTS, "oauth-client", "/v1/oauth-clients"),
    ("op_", operations.OPERATIONS, "operation", "/v1/operations"),
    ("webhook_", webhooks.WEBHOOKS, "webhook", "/v1/webhooks"),
)
# By the names that people gave; where several things have one name, the first of these.
_NAMED: tuple[tuple[Table[Any], str, str], ...] = (
    (flags.FLAGS, "flag", "/v1/flags"),
    (environments.ENVIRONMENTS, "environment", "/v1/environments"),
    (memberships.ROLES, "role", "/v1/roles"),
)


class Thing(Wire):
    """What a name leads to. `href` is its address in this API."""

    kind: str
    id: str
    href: str


@router.get("/{name}", responses=answers(NOT_FOUND))
async def look_up(
    name: Annotated[
        str,
        Path(
            max_length=100, examples=["CA0123456789abcdef0123456789abcdef", "+1 (202) 555-0123"],
            description="An id, also an event's and the carrier's of a call, a phone number, a name of a flag or an environment; case and "
            "spaces do not matter.",
        ),
    ],
    who: AnyCaller, organisation: Organisation, ports: Wired, read: Read,
) -> Thing:  # fmt: skip
    """Find a thing of the organisation by any name it has. A key sees only what it may read."""
    async for thing in _things(name.strip(), organisation, ports, read):
        if _may_read(who, thing):
            return thing
    return found(None, "thing")


def _may_read(who: Caller, thing: Thing) -> bool:
    resource = "api-keys" if thing.kind == "api-key" else thing.href.split("/")[2]
    return allows(who.scopes, f"{resource}:read")


async def _things(name: str, organisation: str, ports: Ports, read: Reading) -> AsyncIterator[Thing]:
    compact = re.sub(r"\s+", "", name)
    if match := _HEX.match(compact.upper()):
        async for thing in _by_hex(match[1], match[2].replace("-", "").lower(), organisation, read):
            yield thing
    if match := _SID.match(compact.upper()):
        sid: dict[str, Any] = {_SIDS[match[1]]: match[1] + match[2].lower()}
        for call in (await read.page(calls.CALLS, organisation, limit=1, cursor=None, **sid))[0]:
            yield Thing(kind="call", id=call.id, href=f"/v1/calls/{call.id}")
    if (event := EventId.read(compact)) and await read.event(organisation, event) is not None:
        yield Thing(kind="event", id=str(event), href=f"/v1/events/{event}")
    own = StreamId(organisation, "organisations", organisation)
    if match := _KEY.match(compact.upper()):
        row = await read.row(organisations.ORGANISATIONS, own)
        key_id = f"key_{match[1]}"
        if row is not None and any(key.key_id == key_id for key in row.keys):
            yield Thing(kind="api-key", id=key_id, href=f"/v1/organisations/{organisation}/api-keys/{key_id}")
    async for thing in _by_identifier(name, organisation, read):
        yield thing
    async for thing in _by_number(name, organisation, ports, read):
        yield thing
    given = name.lower()
    for table, kind, address in _NAMED if _NAME.match(given) else ():
        if await read.row(table, StreamId(organisation, table.category, given)) is not None:
            yield Thing(kind=kind, id=given, href=f"{address}/{given}")


async def _by_hex(prefix: str | None, digits: str, organisation: str, read: Reading) -> AsyncIterator[Thing]:
    for ours, table, kind, address in _HEX_IDS:
        if prefix in {None, ours.rstrip("_").upper()} and await read.row(table, StreamId(organisation, table.category, ours + digits)):
            yield Thing(kind=kind, id=ours + digits, href=f"{address}/{ours}{digits}")
    if prefix in {None, "CALLER"}:
        stream = StreamId(organisation, "consents", digits)
        if await read.row(consents.CALLER_PERMISSIONS, stream) is not None:
            yield Thing(kind="caller", id=f"{CALLER}{digits}", href=f"/v1/consents/{CALLER}{digits}")


async def _by_identifier(name: str, organisation: str, read: Reading) -> AsyncIterator[Thing]:
    try:
        named = read_identifier(name)
    except InvalidIdentifier:
        return
    own = StreamId(organisation, "organisations", organisation)
    if named == organisation and await read.row(organisations.ORGANISATIONS, own) is not None:
        yield Thing(kind="organisation", id=organisation, href=f"/v1/organisations/{organisation}")
    if named.startswith("USR-") and await read.row(memberships.MEMBERSHIPS, StreamId(organisation, "memberships", named)) is not None:
        yield Thing(kind="membership", id=named, href=f"/v1/memberships/{named}")


async def _by_number(text: str, organisation: str, ports: Ports, read: Reading) -> AsyncIterator[Thing]:
    """A number may be one of the business, or a caller's; the first goes first."""
    try:
        number = e164(text)
    except ValueError:
        return
    ours = StreamId(PLATFORM, "numbers", ports.keyring.reference(PLATFORM, number))
    if await read.row(numbers.NUMBERS, ours, organisation=organisation) is not None:
        yield Thing(kind="number", id=number, href=f"/v1/numbers/{number}")
    caller = Person(reference=ports.keyring.reference(organisation, number))
    if await read.row(consents.CALLER_PERMISSIONS, StreamId(organisation, "consents", caller.reference)) is not None:
        yield Thing(kind="caller", id=caller.id, href=f"/v1/consents/{caller.id}")
