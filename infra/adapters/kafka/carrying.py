"""A reader's cursor carried over to the next generation of a topic: it goes on there with what it had not read, and with that only."""

from commands.ports import Place
from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.positions import Cursor
from infra.adapters.kafka.copying import is_copied
from infra.adapters.kafka.ends import offsets_of
from infra.adapters.kafka.fetching import LATEST, records_in
from infra.adapters.kafka.link import KafkaUnreachable, Link
from infra.adapters.kafka.origins import origins_in, parts_of
from infra.adapters.kafka.security import IN_CLEAR, KafkaSecurity


async def carried_over(bootstrap_servers: str, cursor: Cursor, old: str, new: str, security: KafkaSecurity = IN_CLEAR) -> Cursor:
    """The cursor with its places on `new` instead of `old`, once the topic was grown. It stands between commits, as readers leave it.

    Raises LogAway.
    """
    async with Link(bootstrap_servers, "carrying", security=security) as link:
        before, after = await link.partitions_of(old), await link.partitions_of(new)
        if before is None or after is None:
            raise KafkaUnreachable(f"{old if before is None else new} is not there")
        ends = await offsets_of(link, [Place(new, number) for number in range(after)], LATEST)
        reached: dict[tuple[str, int], tuple[int, Fence]] = {place: at for place, at in cursor.items() if place[0] != old}
        for place, end in ends.items():
            offset, _ = cursor.get((old, place.partition % before), (0, UNCLAIMED))
            reached[place] = await _first_unread(link, place, end, offset)
    return Cursor(reached)


async def _first_unread(link: Link, place: Place, end: int, read_to: int) -> tuple[int, Fence]:
    """Where the first commit lies that was written later, or whose original lay at `read_to` or behind it."""
    fence, reached = UNCLAIMED, 0
    async for part in parts_of(link, place, 0, end):
        origins = origins_in(part)
        raws, reached = records_in(part, end)
        for raw in raws:
            fence, verdict = admit(fence, raw.header)
            if verdict is Verdict.ADMITTED and is_copied(raw) and raw.header is not None and raw.header.index == 0:
                origin = origins.get(raw.offset)
                if origin is None or origin.offset >= read_to:
                    return raw.offset, fence
    return reached, fence
