"""Where partitions begin and end, or what was appended since a time: asked of whichever brokers lead them."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

from commands.ports import LogAway, Place
from infra.adapters.kafka.fetching import TryElsewhere, offsets_told
from infra.adapters.kafka.link import Link

# Without any answer. A broker that was just asked for a hundred partitions makes them one after the other.
_SECONDS = 15.0
_RETRY_SECONDS = 0.1


async def offsets_of(link: Link, places: Sequence[Place], at: int) -> dict[Place, int]:
    """As `fetching.offsets`, of partitions that any brokers lead. Asks again while leaders change. Raises LogAway.

    What a broker says of one partition counts, whatever it says of another: a leader that moved holds up its own partition only.
    """
    found: dict[Place, int] = {}
    refused: dict[Place, str] = {}
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_SECONDS) as limit:
            while len(found) < len(places):
                missing = [place for place in places if place not in found]
                led = await _by_leader(link, missing)
                before = len(found)
                for node, theirs in led.items():
                    with suppress(TryElsewhere):
                        told, refused = await offsets_told(link, node, theirs, at=at)
                        found.update(told)
                        if told:
                            limit.reschedule(loop.time() + _SECONDS)
                if len(found) == before:
                    await asyncio.sleep(_RETRY_SECONDS)
    except TimeoutError:
        missing = [place for place in places if place not in found]
        why = f" ({refused[missing[0]]})" if missing[0] in refused else ""
        raise LogAway(f"for {_SECONDS} s nobody said where {len(missing)} partitions begin and end: {missing[0]}{why} and so on") from None
    return found


async def _by_leader(link: Link, places: Sequence[Place]) -> dict[int, list[Place]]:
    led: defaultdict[int, list[Place]] = defaultdict(list)
    for place in places:
        leader = await link.leader_of(*place)
        if leader is not None:
            led[leader].append(place)
    return led
