"""The header by which a copied record says where it lay first: on the relay's topics, and on the next generation of a topic."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TypeAlias

import structlog
from aiokafka.errors import CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from commands.ports import Place
from events.positions import InvalidPosition, Position
from infra.adapters.kafka.fetching import Fetched, TryElsewhere, fetch
from infra.adapters.kafka.link import Link

log = structlog.get_logger()

ORIGIN = "aybiza_origin"
Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
_WAIT_MS = 50
_RETRY_SECONDS = 0.1


def origin_of(headers: Iterable[tuple[str, bytes | None]]) -> Position | None:
    """Where a copied record lay first; None for one that is no copy."""
    said = dict(headers).get(ORIGIN)
    try:
        return None if said is None else Position.parse(said.decode())
    except (InvalidPosition, UnicodeDecodeError):
        return None


async def parts_of(link: Link, place: Place, start: int, stop: int) -> AsyncIterator[Fetched]:
    """What lies between two offsets, in order; the last part may go on behind `stop`. Waits while brokers are away."""
    while start < stop:
        leader = await link.leader_of(*place)
        try:
            fetched = [] if leader is None else await fetch(link, leader, {place: start}, wait_ms=_WAIT_MS)
        except TryElsewhere:
            fetched = []
        if not fetched:
            await asyncio.sleep(_RETRY_SECONDS)
        for part in fetched:
            yield part
            start = _end_of(part)


def origins_in(fetched: Fetched) -> dict[int, Position]:
    """The origins of what was fetched, by offset."""
    found: dict[int, Position] = {}
    batches = MemoryRecords(fetched.data)
    while batches.has_next():
        batch = batches.next_batch()
        try:
            for record in batch:
                if record.offset >= fetched.offset and (origin := origin_of(record.headers)):
                    found[record.offset] = origin
        except (CorruptRecordException, UnicodeDecodeError):
            log.warning("foreign-record", topic=fetched.place.topic, partition=fetched.place.partition, offset=batch.base_offset)
    return found


def _end_of(fetched: Fetched) -> int:
    batches, end = MemoryRecords(fetched.data), fetched.offset
    while batches.has_next():
        end = batches.next_batch().next_offset
    return end
