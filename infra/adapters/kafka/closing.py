"""The end of a topic's generation: whether its partitions were closed, and copied whole to the next one."""

import asyncio
from collections.abc import Sequence

from commands.ports import LogAway, Place
from events.admission import LAST_TERM
from events.headers import Kind
from events.records import RawRecord
from infra.adapters.kafka.ends import offsets_of
from infra.adapters.kafka.fetching import LATEST, TryElsewhere, fetch, records_in
from infra.adapters.kafka.link import Link

# Owners who do not know yet may have written behind the closer's word.
_TAIL_RECORDS = 1_000
_SECONDS = 10.0
_RETRY_SECONDS = 0.1


def says_done(raw: RawRecord) -> bool:
    """Whether a record says that its partition was closed and copied whole."""
    return raw.header is not None and raw.header.kind is Kind.RELEASE and raw.header.term == LAST_TERM


async def are_done(link: Link, places: Sequence[Place]) -> bool:
    """Whether that stands at the end of every one of these partitions. Raises LogAway."""
    for place, end in (await offsets_of(link, places, LATEST)).items():
        try:
            async with asyncio.timeout(_SECONDS):
                if not await _is_done(link, place, end):
                    return False
        except TimeoutError:
            raise LogAway(f"the end of {place} could not be read within {_SECONDS} s") from None
    return True


async def _is_done(link: Link, place: Place, end: int) -> bool:
    offset = max(0, end - _TAIL_RECORDS)
    while offset < end:
        leader = await link.leader_of(*place)
        try:
            fetched = [] if leader is None else await fetch(link, leader, {place: offset}, wait_ms=50)
        except TryElsewhere:
            fetched = []
        for part in fetched:
            raws, offset = records_in(part, end)
            if any(says_done(raw) for raw in raws):
                return True
        if not fetched:
            await asyncio.sleep(_RETRY_SECONDS)
    return False
