"""Routes of look-ups: any name that people or programs have for a thing, in any spelling, leads to it."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path

from api.auth import AnyCaller, Caller, Organisation
from api.ports import Ports
from api.positions import Read, Reading
from api.problems import NOT_FOUND, answers
from api.scopes import allows
from api.sealing import CALLER, Person, e164
from api.wire import Wire, Wired, found
from events.identifiers import InvalidIdentifier, read_identifier
from events.streams import PLATFORM, StreamId
from projections import agents, calls, consents, credentials, flags, memberships, numbers, organisations

router = APIRouter(prefix="/lookup", tags=["lookup"])
_HEX = re.compile(r"(?:(CALL|AGT|CALLER|INV|CLI)[_\-: ]?)?([0-9A-F]{8}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{4}-?[0-9A-F]{12})\Z")
_KEY = re.compile(r"KEY[_\-: ]?([0-9A-Z]{16})\Z")
_FLAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}\Z")


class Thing(Wire):
    """What a name leads to. `href` is its address in this API."""

    kind: str
    id: str
    href: str


@router.get("/{name}", responses=answers(NOT_FOUND))
async def look_up(
    name: Annotated[str, Path(max_length=100, description="An id, a phone number, a flag's name; case, spaces and hyphens do not matter.")],
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
    if _FLAG.match(name.lower()) and await read.row(flags.FLAGS, StreamId(organisation, "flags", name.lower())) is not None:
        yield Thing(kind="flag", id=name.lower(), href=f"/v1/flags/{name.lower()}")


async def _by_hex(prefix: str | None, digits: str, organisation: str, read: Reading) -> AsyncIterator[Thing]:
    if prefix in {None, "CALL"} and await read.row(calls.CALLS, StreamId(organisation, "calls", f"call_{digits}")) is not None:
        yield Thing(kind="call", id=f"call_{digits}", href=f"/v1/calls/call_{digits}")
    if prefix in {None, "AGT"} and await read.row(agents.AGENTS, StreamId(organisation, "agents", f"agt_{digits}")) is not None:
        yield Thing(kind="agent", id=f"agt_{digits}", href=f"/v1/agents/agt_{digits}")
    if prefix in {None, "INV"} and await read.row(memberships.INVITATIONS, StreamId(organisation, "invitations", f"inv_{digits}")):
        yield Thing(kind="invitation", id=f"inv_{digits}", href=f"/v1/invitations/inv_{digits}")
    if prefix in {None, "CLI"} and await read.row(credentials.CLIENTS, StreamId(organisation, "oauth-clients", f"cli_{digits}")):
        yield Thing(kind="oauth-client", id=f"cli_{digits}", href=f"/v1/oauth-clients/cli_{digits}")
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
