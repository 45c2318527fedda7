"""What was parked is folded again when an operator orders it, and once: in its order, without what is to be left out."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from events import codec, registry, upcasting
from events.flags import FlagSet
from events.recorded import Recorded
from events.registry import event
from events.rooms import ROOMS, prepared_codec
from events.streams import PLATFORM, StreamId
from events.upcasting import upcast
from events.upkeep import DiscardOrdered, RedriveOrdered
from infra.adapters.postgres.connections import Pool, connected
from infra.adapters.postgres.rebuilding import drop, picture
from infra.adapters.postgres.store import PostgresStore
from projections.flags import FLAGS, Flag
from projections.journal import JOURNAL
from projections.ports import Place, Projection, named
from projections.runner import Runner
from projections.table import Table
from projections.upkeep import UPKEEP_ORDERS
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

FLAG = StreamId(AYB, "flags", "greeting")
OTHER = StreamId(AYB, "flags", "other")
ORDERS = StreamId(PLATFORM, "upkeep", named(FLAGS))
MENDED: Sequence[Projection] = (JOURNAL, FLAGS, UPKEEP_ORDERS)


def broken(row: Flag | None, recorded: Recorded[Any]) -> Flag | None:
    if recorded.fact.variant == "poison":
        raise ValueError("a variant that this fold cannot take")
    return FLAGS.evolve(row, recorded)


BROKEN: Sequence[Projection] = (
    JOURNAL, Table(name="flags", version=1, room="flags", category="flags", row=Flag, evolve=broken), UPKEEP_ORDERS
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSetV0:
    """As some release wrote it, which no fold takes as it is."""

    variant: str


def first(old: FlagSetV0) -> FlagSet:
    return FlagSet(enabled=True, variant=old.variant)


def poisoned() -> PaperReader:
    reader = PaperReader(partitions=1)
    for variant in ("first", "poison", "third"):
        reader.append(FLAG, FlagSet(enabled=True, variant=variant))
    reader.append(OTHER, FlagSet(enabled=True, variant="well"))
    return reader


async def run(reader: PaperReader, pool: Pool, projections: Sequence[Projection]) -> None:
    await Runner(reader, PostgresStore(pool), projections, journal_rooms=ROOMS).run(stop_at_end=True)


async def run_until_tried(reader: PaperReader, pool: Pool, projections: Sequence[Projection], order: str) -> None:
    """Until nothing is parked, or all of it has been tried by the order."""
    running = asyncio.create_task(Runner(reader, PostgresStore(pool), projections, journal_rooms=ROOMS).run())
    async with asyncio.timeout(120):
        while await pool.fetchval("SELECT count(*) FROM read_side.parked WHERE tried_by <> $1", order) and not running.done():
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])


async def variants(pool: Pool) -> dict[str, str]:
    return {record["id"]: record["variant"] for record in await pool.fetch("SELECT id, variant FROM p_flags_v1.flags")}


async def parked(pool: Pool) -> list[tuple[Any, ...]]:
    records = await pool.fetch('SELECT stream, version, behind, tried_by FROM read_side.parked ORDER BY "offset"')
    return [tuple(record) for record in records]


def order(reader: PaperReader) -> None:
    reader.append(ORDERS, RedriveOrdered(order="o1", projection=named(FLAGS), stream=str(FLAG), because="the fold is mended"))


def discard(reader: PaperReader) -> None:
    poison = [raw for raw in reader.all_records() if raw.key == FLAG.key][1]
    reader.append(
        ORDERS,
        DiscardOrdered(
            projection=named(FLAGS), stream=str(FLAG), topic=poison.topic, partition=poison.partition, offset=poison.offset,
            because="it was never meant",
        ),
    )  # fmt: skip


class TestRedrive:
    async def test_folds_what_is_parked_in_its_order_once_the_fold_is_mended(self, database: str) -> None:
        reader = poisoned()
        async with connected(database, purpose="test") as pool:
            await run(reader, pool, BROKEN)
            assert await parked(pool) == [(str(FLAG), 2, False, ""), (str(FLAG), 3, True, "")]
            assert await variants(pool) == {"greeting": "first", "other": "well"}
            order(reader)
            await run_until_tried(reader, pool, MENDED, "flags.v1/1")
            assert await parked(pool) == []
            assert await variants(pool) == {"greeting": "third", "other": "well"}
            # The stream is well again: what follows is folded as it comes.
            reader.append(FLAG, FlagSet(enabled=True, variant="fourth"))
            await run(reader, pool, MENDED)
            assert (await variants(pool))["greeting"] == "fourth"

    async def test_folds_what_is_read_through_an_upcaster_by_now(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, name in ((registry, "_BY_TYPE"), (registry, "_BY_CLASS"), (upcasting, "_STEPS")):
            monkeypatch.setattr(module, name, dict(getattr(module, name)))
        monkeypatch.setattr(FlagSetV0, "__module__", FlagSet.__module__)
        event("flag-set", version=0, record="FlagSet")(FlagSetV0)
        reader = PaperReader(partitions=1)
        reader.append(FLAG, FlagSet(enabled=True, variant="first"))
        reader.append(FLAG, FlagSetV0(variant="poison"), room="flags")
        reader.append(FLAG, FlagSetV0(variant="third"), room="flags")
        async with connected(database, purpose="test") as pool:
            await run(reader, pool, BROKEN)
            assert await parked(pool) == [(str(FLAG), 2, False, ""), (str(FLAG), 3, True, "")]
            upcast(first)
            # As in the next release's process, which has compiled nothing yet.
            monkeypatch.setattr(codec, "_compiled", codec._Kind)  # noqa: SLF001
            reader.codec = prepared_codec()
            order(reader)
            await run_until_tried(reader, pool, MENDED, "flags.v1/1")
            assert await parked(pool) == []
            assert await variants(pool) == {"greeting": "third"}

    async def test_is_not_done_unless_it_is_ordered(self, database: str) -> None:
        reader = poisoned()
        async with connected(database, purpose="test") as pool:
            await run(reader, pool, BROKEN)
            await run(reader, pool, MENDED)
            assert len(await parked(pool)) == 2

    async def test_parks_again_what_still_cannot_be_taken_and_is_tried_once(self, database: str) -> None:
        reader = poisoned()
        async with connected(database, purpose="test") as pool:
            await run(reader, pool, BROKEN)
            order(reader)
            await run_until_tried(reader, pool, BROKEN, "flags.v1/1")
            assert await parked(pool) == [(str(FLAG), 2, False, "flags.v1/1"), (str(FLAG), 3, True, "flags.v1/1")]
            places = await reader.end_offsets(["aybiza.flags.v1"])
            assert await PostgresStore(pool).sick({(named(FLAGS), Place(*place)) for place in places}) == ()


class TestDiscard:
    async def test_leaves_one_fact_out_and_folds_what_is_behind_it(self, database: str) -> None:
        reader = poisoned()
        async with connected(database, purpose="test") as pool:
            await run(reader, pool, BROKEN)
            discard(reader)
            await run_until_tried(reader, pool, BROKEN, "flags.v1/1")
            assert await parked(pool) == []
            assert await variants(pool) == {"greeting": "third", "other": "well"}

    async def test_is_honoured_when_everything_is_built_from_nothing(self, database: str) -> None:
        reader = poisoned()
        async with connected(database, purpose="test") as pool:
            await run(reader, pool, BROKEN)
            discard(reader)
            await run_until_tried(reader, pool, BROKEN, "flags.v1/1")
            async with pool.acquire() as connection:
                before = (await picture(connection, BROKEN)).pictures
                await drop(connection, BROKEN)
            await run(reader, pool, BROKEN)
            await run_until_tried(reader, pool, BROKEN, "flags.v1/1")
            async with pool.acquire() as connection:
                assert (await picture(connection, BROKEN)).pictures == before
