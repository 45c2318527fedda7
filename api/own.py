"""What a person reads of themselves, now and as it was: from memory, or folded anew from the streams that are their own."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Response

from api.auth import SignedIn
from api.past import AsOf, Past, past
from api.ports import Ports
from api.positions import MinPosition, positions_of
from api.rights import BUILT_IN
from events.positions import Position, write_reach
from events.recorded import Recorded
from events.registry import Fact
from events.streams import PLATFORM, StreamId, room_of
from projections.memberships import MEMBERSHIPS, ROLES, Membership
from projections.organisations import ORGANISATIONS
from projections.people import PEOPLE, SESSIONS, Person, Session
from projections.queries import JournalRows, asked_for, seen

_WAIT_SECONDS = 5.0
_MOST_SESSIONS = 1_000


class OwnJournal:
    """The journal for one person, behind the wall: each stream is asked for as its own tenant's, and only the person's own are asked.

    A person belongs to organisations, and to none of them alone.
    """

    def __init__(self, journal: JournalRows, tenants: Sequence[str]) -> None:
        self._journal = journal
        self._tenants = tenants

    async def stream_events(self, stream: StreamId, *, after_version: int = 0, limit: int | None = None) -> Sequence[Recorded[Fact]]:
        with _asked(stream.tenant):
            return await self._journal.stream_events(stream, after_version=after_version, limit=limit)

    async def events_of(self, streams: Sequence[StreamId], projection: str) -> Mapping[StreamId, Sequence[Recorded[Fact]]]:
        if not streams:
            return {}
        with _asked(streams[0].tenant):
            return await self._journal.events_of(streams, projection)

    async def streams(self, tenant: str | None, category: str, **more: Any) -> Sequence[StreamId]:
        with _asked(tenant or ""):
            return await self._journal.streams(tenant, category, **more)

    async def appended_at(self, position: Position) -> datetime | None:
        """As the person may know it: of whatever of theirs lies last there."""
        found: list[datetime] = []
        for tenant in self._tenants:
            with _asked(tenant):
                at = await self._journal.appended_at(position)
            found += [] if at is None else [at]
        return max(found, default=None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


@contextmanager
def _asked(tenant: str) -> Iterator[None]:
    before = asked_for.set(tenant)
    try:
        yield
    finally:
        asked_for.reset(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReading:
    """A person's own rows, for one request."""

    ports: Ports
    person_id: str
    past: Past | None = None

    @property
    def at(self) -> datetime:
        """Of what time the answer is."""
        return self.ports.clock() if self.past is None else self.past.at

    async def person(self) -> Person | None:
        if self.past is None:
            return self.ports.access.person(self.person_id)
        return await self.past.row(PEOPLE, StreamId(PLATFORM, "people", self.person_id))

    async def memberships(self) -> Sequence[Membership]:
        """Those that stand, in the order of the organisations' ids."""
        access, past = self.ports.access, self.past
        if past is None:
            return access.memberships_of(self.person_id)
        rows = [await past.row(MEMBERSHIPS, StreamId(each, "memberships", self.person_id)) for each in access.ever_in(self.person_id)]
        return [row for row in rows if row is not None and row.ended_at is None]

    async def name_of(self, organisation_id: str) -> str:
        past = self.past
        if past is None:
            row = self.ports.access.organisation(organisation_id)
        else:
            row = await past.row(ORGANISATIONS, StreamId(organisation_id, "organisations", organisation_id))
        return "" if row is None else row.name

    async def scopes_of(self, organisation_id: str, role: str) -> tuple[str, ...]:
        """What a role gives there, ours or the organisation's own."""
        past = self.past
        if role in BUILT_IN:
            grants = BUILT_IN[role].grants
        elif past is None:
            own = self.ports.access.role(organisation_id, role)
            grants = () if own is None else own.grants
        else:
            own = await past.row(ROLES, StreamId(organisation_id, "roles", role))
            grants = () if own is None else own.grants
        return tuple(grant.scope for grant in grants)

    async def sessions(self) -> Sequence[Session]:
        """Those that nobody had ended and whose time was not over, in the order of their ids."""
        if self.past is None:
            found = self.ports.access.sessions_of(self.person_id)
        else:
            found = await self.past.page(
                SESSIONS, None, limit=_MOST_SESSIONS, after=None, newest_first=True, where={"person_id": self.person_id}, tenant=PLATFORM
            )
        return sorted((each for each in found if each.expires_at > self.at), key=lambda each: each.id)


async def own_reading(
    who: SignedIn, request: Request, response: Response, min_position: MinPosition = None, as_of: AsOf = None
) -> OwnReading:
    """Raises Problem for what is no position of ours, as `positions.reading` does."""
    ports: Ports = request.app.state.ports
    request.scope["state"]["told"] = response.headers
    wanted, person_id = positions_of(min_position, ports), who.person_id or ""
    shown = await ports.api_keys.wait_for(wanted, _WAIT_SECONDS)
    if as_of is None:
        then = None
        note_what_is_known(ports, "people", "memberships", "organisations")
    else:
        shown = await ports.rows.wait_for(wanted, _WAIT_SECONDS) and shown
        journal = OwnJournal(ports.journal, (PLATFORM, *ports.access.ever_in(person_id)))
        then = await past(replace(ports, journal=journal), response, as_of)
    if not shown:
        response.headers["Warning"] = '199 aybiza "the answer is older than min-position"'
    return OwnReading(ports=ports, person_id=person_id, past=then)


def note_what_is_known(ports: Ports, *rooms: str) -> None:
    """Before an answer is made of what these rooms' facts left in memory: up to where it is true."""
    if (noted := seen.get()) is not None:
        noted.note(write_reach({place: offset for place, offset in ports.api_keys.position().items() if room_of(place[0]) in rooms}))


Own = Annotated[OwnReading, Depends(own_reading)]
