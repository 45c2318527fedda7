"""The relay: each room's admitted events on a topic of their own, for consumers that cannot know the rule of admission.

A record is the room's own, byte by byte, with one header more: `aybiza_origin`, its position on the room's topic. Relays may crash,
and two may run side by side; then records come again. **Who takes a record only when its origin's offset is above every one seen before in
that partition has each admitted event once and in order.** For a relay appends nothing before what precedes it is acknowledged, and begins
behind the origin of the last record that it finds: so whatever lies on the relay topic, all that precedes it lies before it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

import structlog

from commands.ports import AppendInDoubt, Log, LogAway, NewRecord, Place
from events.admission import UNCLAIMED, Fence
from events.positions import Position
from events.recorded import EventId
from events.records import AdmittedBatch, RawRecord, position_of, write_headers
from events.selecting import Select
from events.streams import room_of
from infra.adapters.kafka.link import Link
from infra.adapters.kafka.origins import ORIGIN, origins_in, parts_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity
from infra.adapters.kafka.topics import Manifest

log = structlog.get_logger()

_PORTION_BYTES = 500_000
# Around key and value: the packed header, CloudEvents' attributes and the origin.
_AROUND_BYTES = 600
_FIRST_LOOK_BACK = 16


def relayed(manifest: Manifest) -> Manifest:
    """The relay topic of a room's topic: alike in everything by which records are found and kept."""
    return replace(manifest, room=f"{manifest.room}.admitted", owner="relay", holds=f"admitted events of: {manifest.holds}")


class Relay:
    """Relays topics (the relay topic of each is in `topics`) for as long as it runs. One `run` at a time."""

    def __init__(
        self, bootstrap_servers: str, reader: KafkaLogReader, kafka: Log, topics: Mapping[str, str], security: KafkaSecurity = IN_CLEAR
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._reader = reader
        self._kafka = kafka
        self._topics = topics
        self._security = security
        self._expected: dict[Place, int] = {}

    async def run(self, places: Collection[tuple[str, int]] | None = None, *, stop_at_end: bool = False) -> None:
        """Until cancelled. `places`: the partitions of the rooms' topics to relay, instead of all.

        Raises LogAway where it has to begin again behind what arrived: the log is away, an append is in doubt, another relay is at work.
        """
        ends = await self._reader.end_offsets(list(self._topics))
        mine = [Place(*place) for place in ends if places is None or place in places]
        start = await self._resumed(mine)
        batches = self._reader.batches(list(self._topics), start, places=mine, select=Select(), stop_at_end=stop_at_end)
        async with aclosing(batches):
            async for batch in batches:
                for portion in _portions(batch):
                    await self._append(Place(self._topics[batch.topic], batch.partition), portion)

    async def _append(self, place: Place, records: Sequence[NewRecord]) -> None:
        try:
            base = await self._kafka.append(place, records)
        except AppendInDoubt as error:
            await self._kafka.sever(place)
            raise LogAway(f"nobody knows whether {len(records)} records reached {place}") from error
        if base != self._expected[place]:
            raise LogAway(f"another relay writes to {place}: offset {self._expected[place]} was expected, and {base} came")
        self._expected[place] = base + len(records)

    async def _resumed(self, places: Sequence[Place]) -> Mapping[tuple[str, int], tuple[int, Fence]]:
        """Behind the last record that was relayed, for each partition."""
        start: dict[tuple[str, int], tuple[int, Fence]] = {}
        async with Link(self._bootstrap_servers, "relay", security=self._security) as link:
            for place in places:
                relay = Place(self._topics[place.topic], place.partition)
                end = self._expected[relay] = await self._kafka.end_offset(relay)
                origin = await _last_origin(link, relay, end, place)
                start[place] = (0, UNCLAIMED) if origin is None else (origin.offset + 1, origin.fence)
        log.info("relay-begins", partitions=len(places), relayed_before=sum(offset > 0 for offset, _ in start.values()))
        return start


def _portions(batch: AdmittedBatch) -> Iterator[Sequence[NewRecord]]:
    """The records as the relay writes them, in batches that a broker takes."""
    portion: list[NewRecord] = []
    size = 0
    for raw in batch.records:
        if portion and size + len(raw.key) + len(raw.value) + _AROUND_BYTES > _PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(_relayed(raw))
        size += len(raw.key) + len(raw.value) + _AROUND_BYTES
    if portion:
        yield portion


def _relayed(raw: RawRecord) -> NewRecord:
    header = raw.header
    if header is None:
        raise ValueError(f"{raw.topic}/{raw.partition}/{raw.offset} was not admitted")
    event_id = str(EventId(header.commit_id, header.index))
    headers = write_headers(room_of(raw.topic), raw.ce_type, event_id, header.pack())
    return NewRecord(raw.key, raw.value, raw.timestamp_ms, [*headers, (ORIGIN, str(position_of(raw, header)).encode())])


async def _last_origin(link: Link, relay: Place, end: int, place: Place) -> Position | None:
    """The origin of the last record that a relay of this partition wrote: looked for from the end, for strangers may have written too."""
    stop, step = end, _FIRST_LOOK_BACK
    while stop > 0:
        begin = max(0, stop - step)
        found = None
        async for part in parts_of(link, relay, begin, stop):
            for offset, origin in origins_in(part).items():
                if offset < stop and (origin.topic, origin.partition) == place:
                    found = origin
        if found is not None:
            return found
        stop, step = begin, step * 16
    return None
