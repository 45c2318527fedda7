"""What a projected event costs as the journal grows to 1,000,000 rows: `make bench NAME=growth`, ROWS=10000000 for all of it.

The log is on paper, so that nothing but the runner and the database is measured, and ten million events need no hour to be written.

A machine is not as fast in one minute as in the next, and what calls do first costs something else than what they do last: the first
hundred thousand events of one long run say little of the last ones. So at each size the same events, a whole wave of 8,000 calls from
ring to last turn, go into the grown journal and into an empty one in turns, a few times, and each pair is compared with itself. What
the database does by the clock (autovacuum, checkpoints) counts in the time, and of its CPU-seconds is shown apart.
"""

import logging
import os
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import psutil
import structlog
import uvloop

from events.admission import Fence
from events.calls.thinking import ModelChosen
from events.codec import Codec
from events.headers import Kind, RecordHeader
from events.records import AdmittedBatch, RawRecord
from events.registry import type_of
from events.rooms import prepared_codec
from events.streams import StreamId, topic_of
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.store import PostgresStore
from infra.apps.allocating import allocate_for_groups
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.calls import CALLS
from projections.journal import JOURNAL
from projections.ports import Mark, Opened, Place, Projection, Writes
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import databases, progress
from tests.projections.facts import agent_turn, answered, caller_turn, received
from tests.projections.told import AYB, DAY

ROWS = int(os.environ.get("ROWS", "1000000"))
_SIZES = [size for size in (300_000, 1_000_000, 3_000_000, 10_000_000) if size <= ROWS]
_PAIRS = 4
_SAY_SECONDS = 10.0
_PARTITIONS, _BATCH, _TURNS = 8, 1_000, 10
_FENCE = Fence(1, b"f" * 16)
_JOURNAL_BYTES = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('p_journal_v1.journal')"
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
_FACTS = (received(), answered(), *(
    fact for turn in range(1, _TURNS)
    for fact in (caller_turn(turn), ModelChosen(turn=turn, rule="short", logical="fast", model="m"), agent_turn(turn))
))  # fmt: skip


_WAVE = _PARTITIONS * _BATCH * len(_FACTS)


class LongLog:
    """Call after call, each whole, 29 facts; a thousand of them under way at once in each partition. Goes on where it ended."""

    def __init__(self) -> None:
        self.codec: Codec = prepared_codec()
        self._values = [(self.codec.encode(fact), type_of(fact).ce_type) for fact in _FACTS]
        self._turn = 0
        self.waves = 0
        self.cpu_seconds = 0.0

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        return {(topic, partition): self._turn * _BATCH for topic in topics for partition in range(_PARTITIONS)}

    async def batches(
        self, topics: Sequence[str], start: Mapping[tuple[str, int], tuple[int, Fence]], *, stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:  # fmt: skip
        """Up to the end of `waves` from the start; ignores where it is asked to begin."""
        header = RecordHeader(kind=Kind.EVENT, term=_FENCE.term, claim_id=_FENCE.claim_id, actor="bench")
        while self._turn < self.waves * len(_FACTS):
            for partition in range(_PARTITIONS):
                begun = time.process_time()
                records = self._records(topics[0], partition, self._turn, header)
                self.cpu_seconds += time.process_time() - begun
                yield AdmittedBatch(topics[0], partition, records, (self._turn + 1) * _BATCH, _FENCE)
            self._turn += 1

    def _records(self, topic: str, partition: int, turn: int, header: RecordHeader) -> list[RawRecord]:
        wave, fact = divmod(turn, len(_FACTS))
        value, ce_type = self._values[fact]
        records = []
        for number in range(_BATCH):
            stream = StreamId(AYB, "calls", f"call_{wave:08x}{partition:04x}{number:020x}")
            offset = turn * _BATCH + number
            told = header._replace(version=fact + 1, commit_id=offset.to_bytes(16, "big"))
            records.append(RawRecord(topic, partition, offset, int(DAY.timestamp() * 1000) + turn, stream.key, value, ce_type, told))
        return records


class Cost(NamedTuple):
    """What something cost: time, and CPU-seconds of this process, without its log on paper, of its sessions in the database, and of what
    else the database's server did.
    """

    seconds: float
    runner: float
    sessions: float
    background: float

    def since(self, before: "Cost") -> "Cost":
        return Cost(*(now - then for now, then in zip(self, before, strict=True)))

    @property
    def cpu(self) -> float:
        """Of what is done for the events. The rest goes by the clock, and meets whoever writes just then."""
        return self.runner + self.sessions


class Grown(PostgresStore):
    """A journal with its Table that grows wave by wave."""

    def __init__(self, pool: Pool, server: psutil.Process) -> None:
        super().__init__(pool)
        self._pool = pool
        self._server = server
        self._log = LongLog()
        self._runner = Runner(self._log, self, (JOURNAL, CALLS), topic_of=topic_of, journal_rooms=("calls",))
        self._opened = Cost(0, 0, 0, 0)
        self._said = time.perf_counter()
        self._rows = self._rows_said = 0

    async def grow(self, waves: int) -> Cost:
        """What so many more waves cost, from when the store was open for them."""
        self._log.waves += waves
        await self._runner.run(stop_at_end=True)
        return (await self._look()).since(self._opened)

    async def bytes_per_event(self) -> float:
        return float(await self._pool.fetchval(_JOURNAL_BYTES)) / self._rows

    async def open(self, marks: Collection[tuple[Projection, Place]], held: Mapping[Mark, int] | None = None) -> Opened:
        opened = await super().open(marks, held)
        self._opened = await self._look()
        return opened

    async def write(self, writes: Writes) -> None:
        await super().write(writes)
        self._rows += len(writes.journal)
        now = time.perf_counter()
        if (seconds := now - self._said) > _SAY_SECONDS:
            progress("rows", f"{self._rows:,} written, {(self._rows - self._rows_said) / seconds:,.0f} a second")
            self._said, self._rows_said = now, self._rows

    async def _look(self) -> Cost:
        sessions = {each["pid"] for each in await self._pool.fetch(_SESSIONS)}
        times = {each.pid: each.cpu_times() for each in (self._server, *self._server.children())}
        own = sum(each.user + each.system for pid, each in times.items() if pid in sessions)
        rest = sum(each.user + each.system for pid, each in times.items() if pid not in sessions)
        # A process that has ended is in its server's own account.
        ended = times[self._server.pid].children_user + times[self._server.pid].children_system
        return Cost(time.perf_counter(), time.process_time() - self._log.cpu_seconds, own, rest + ended)


async def measure(dsn: str) -> list[Figure]:
    async with databases(dsn, 1) as pools:
        server = psutil.Process(await pools[0].fetchval("SELECT pg_backend_pid()")).parent()
        if server is None:
            raise SystemExit("the database's server is not on this machine")

        async def first() -> Cost:
            async with databases(dsn, 1) as fresh:
                return await Grown(fresh[0], server).grow(1)

        # The first of all pays for what is compiled and learnt once.
        await first()
        grown, waves, pairs = Grown(pools[0], server), 0, dict[int, list[tuple[Cost, Cost]]]()
        for size in _SIZES:
            if (missing := size // _WAVE - waves) > 0:
                await grown.grow(missing)
                waves += missing
            pairs[size] = []
            for number in range(_PAIRS):
                # Now the one before the other, now the other way round: what the machine does meanwhile meets both alike.
                small, large = (await first(), await grown.grow(1)) if number % 2 else (await grown.grow(1), await first())[::-1]
                pairs[size].append((small, large))
                waves += 1
        size_of_one = await grown.bytes_per_event()
    return [
        *(each for size, found in pairs.items() for each in _figures(size, found)),
        _over("cost_at_the_end_over_first", [large.seconds / small.seconds for small, large in pairs[_SIZES[-1]]]),
        _over("cpu_at_the_end_over_first", [large.cpu / small.cpu for small, large in pairs[_SIZES[-1]]]),
        Figure(figure="journal_bytes_per_event", value=round(size_of_one), unit="B", better="lower"),
    ]


def _figures(size: int, pairs: Sequence[tuple[Cost, Cost]]) -> Sequence[Figure]:
    def compared(figure: str, unit: str, better: str, of: Callable[[Cost], float], digits: int | None) -> Figure:
        small, large = (statistics.median(of(each) for each in side) for side in zip(*pairs, strict=True))
        return Figure(
            figure=f"{figure}_at_{size}_rows", value=round(large, digits), unit=unit, better=better,
            reference="in an empty journal, in turns with it", reference_value=round(small, digits),
        )  # fmt: skip

    return [
        compared("events_per_second", "1/s", "higher", lambda each: _WAVE / each.seconds, None),
        compared("runner_cpu_per_event", "us", "lower", lambda each: each.runner / _WAVE * 1e6, 2),
        compared("database_cpu_per_event", "us", "lower", lambda each: each.sessions / _WAVE * 1e6, 2),
        compared("database_background_cpu_per_event", "us", "lower", lambda each: each.background / _WAVE * 1e6, 2),
    ]


def _over(figure: str, ratios: Sequence[float]) -> Figure:
    return Figure(figure=figure, value=round(statistics.median(ratios), 2), unit="1", better="lower", target=1.2)


async def main() -> None:
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = await ensure_stack(state_dir, settings, progress)
    try:
        show("growth", "journal and one Table, exactly once, a log on paper", await measure(services.postgres), rows=ROWS)
    finally:
        await stop_stack(state_dir, settings, progress)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    allocate_for_groups()
    uvloop.run(main())
