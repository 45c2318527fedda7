"""What a projected event costs as the journal grows, from 100,000 rows on: `make bench NAME=growth`, ROWS=10000000 for all of it.

The log is on paper, so that nothing but the runner and the database is measured, and ten million events need no hour to be written.
"""

import gc
import logging
import os
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
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
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from projections.calls import CALLS
from projections.journal import JOURNAL
from projections.ports import Writes
from projections.runner import Runner
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.projection import databases, progress
from tests.projections.facts import agent_turn, answered, caller_turn, received
from tests.projections.told import AYB, DAY

ROWS = int(os.environ.get("ROWS", "1000000"))
# What is measured of each size lies around it: a tenth of it, and no less than a checkpoint of the database needs to be in it by chance.
_LEAST_SPAN = 100_000
_SIZES = [size for size in (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000) if size <= ROWS]
_SAY_SECONDS = 10.0
_PARTITIONS, _BATCH, _TURNS = 8, 1_000, 10
_FENCE = Fence(1, b"f" * 16)
_JOURNAL_BYTES = "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('p_journal_v1.journal')"
_FACTS = (received(), answered(), *(
    fact for turn in range(1, _TURNS)
    for fact in (caller_turn(turn), ModelChosen(turn=turn, rule="short", logical="fast", model="m"), agent_turn(turn))
))  # fmt: skip


class LongLog:
    """Call after call, each whole, 29 facts; a thousand of them under way at once in each partition."""

    def __init__(self, rows: int) -> None:
        self.codec: Codec = prepared_codec()
        self._rows = rows
        self._values = [(self.codec.encode(fact), type_of(fact).ce_type) for fact in _FACTS]
        self.given = 0

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        return {(topic, partition): self._rows for topic in topics for partition in range(_PARTITIONS)}

    async def batches(
        self, topics: Sequence[str], start: Mapping[tuple[str, int], tuple[int, Fence]], *, stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:  # fmt: skip
        """Ignores where it is asked to begin: it is read once."""
        header = RecordHeader(kind=Kind.EVENT, term=_FENCE.term, claim_id=_FENCE.claim_id, actor="bench")
        for turn in range(self._rows // (_BATCH * _PARTITIONS) + 1):
            for partition in range(_PARTITIONS):
                if self.given >= self._rows:
                    return
                records = self._records(topics[0], partition, turn, header)
                yield AdmittedBatch(topics[0], partition, records, (turn + 1) * _BATCH, _FENCE)
                self.given += len(records)

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


class Seen(NamedTuple):
    """How much was written when, and what it had cost: CPU-seconds of this process and of the whole database server."""

    rows: int
    seconds: float
    cpu_seconds: float


class Timed(PostgresStore):
    """Notes how much was written when."""

    def __init__(self, pool: Pool, server: psutil.Process) -> None:
        super().__init__(pool)
        self._server = server
        self.seen = [self._look(0)]
        self._said = self.seen[0]

    async def write(self, writes: Writes) -> None:
        await super().write(writes)
        self.seen.append(self._look(self.seen[-1].rows + len(writes.journal)))
        last = self.seen[-1]
        if (seconds := last.seconds - self._said.seconds) > _SAY_SECONDS:
            progress("rows", f"{last.rows:,} of {ROWS:,} written, {(last.rows - self._said.rows) / seconds:,.0f} a second")
            self._said = last

    def _look(self, rows: int) -> Seen:
        # A backend that has ended is in its server's own account.
        times = [self._server.cpu_times(), *(each.cpu_times() for each in self._server.children())]
        ended = times[0].children_user + times[0].children_system
        return Seen(rows, time.perf_counter(), time.process_time() + ended + sum(each.user + each.system for each in times))

    def around(self, upto: int) -> tuple[float, float]:
        """Events a second of the groups by which the journal grew to so many rows, and CPU-seconds of each."""
        span = max(_LEAST_SPAN, upto // 10)
        until = next((each for each in self.seen if each.rows >= upto), self.seen[-1])
        since = next(each for each in self.seen if each.rows >= max(until.rows - span, 0))
        rows = until.rows - since.rows
        return rows / (until.seconds - since.seconds), (until.cpu_seconds - since.cpu_seconds) / rows


async def measure(dsn: str) -> list[Figure]:
    async with databases(dsn, 1) as pools:
        server = psutil.Process(await pools[0].fetchval("SELECT pg_backend_pid()")).parent()
        if server is None:
            raise SystemExit("the database's server is not on this machine")
        store = Timed(pools[0], server)
        runner = Runner(LongLog(ROWS), store, (JOURNAL, CALLS), topic_of=topic_of, journal_rooms=("calls",))
        await runner.run(stop_at_end=True)
        progress("rows", f"{store.seen[-1].rows:,} written in {store.seen[-1].seconds - store.seen[0].seconds:.1f} s")
        size = await pools[0].fetchval(_JOURNAL_BYTES)
    found = {upto: store.around(upto) for upto in _SIZES}
    (rate, cost), (last_rate, last_cost) = found[_SIZES[0]], found[_SIZES[-1]]
    first = f"at {_SIZES[0]:,} rows"
    return [
        *(
            Figure(
                figure=f"events_per_second_at_{upto}_rows", value=round(each), unit="1/s", better="higher", reference=first,
                reference_value=round(rate),
            )
            for upto, (each, _) in found.items()
        ),
        *(
            Figure(
                figure=f"cpu_per_event_at_{upto}_rows", value=round(each * 1e6, 2), unit="us", better="lower", reference=first,
                reference_value=round(cost * 1e6, 2),
            )
            for upto, (_, each) in found.items()
        ),
        Figure(figure="cost_at_the_end_over_first", value=round(rate / last_rate, 2), unit="1", better="lower", target=1.2),
        Figure(figure="cpu_at_the_end_over_first", value=round(last_cost / cost, 2), unit="1", better="lower", target=1.2),
        Figure(figure="journal_bytes_per_event", value=round(size / ROWS), unit="B", better="lower"),
    ]  # fmt: skip


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
    gc.set_threshold(100_000, 50, 1_000)
    uvloop.run(main())
