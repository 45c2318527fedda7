"""A worker dies with facts in its spool, and whoever brings them home dies in the middle of it, twice: 0 lost, 0 doubled."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from events.calls.ending import EngineFailure
from events.calls.late import LateFact
from events.headers import Kind
from events.records import recorded
from events.rooms import prepared_codec
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from tests.faults.spooling_worker import CALLS, FACTS, SENT

TOPICS = [manifest for manifest in manifests() if manifest.room in {"calls", "claims", "schemas"}]


async def killed(*arguments: str, at: str) -> None:
    """Run a worker until it says this, or more than this, and kill it with the signal that nobody survives."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.spooling_worker", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    word, _, number = at.partition(" ")
    async for line in program.stdout:
        said, _, count = line.decode().strip().partition(" ")
        if said == word and int(count or 0) >= int(number or 0):
            break
    else:
        raise AssertionError(f"the worker ended before it said {at}")
    program.send_signal(signal.SIGKILL)
    assert await program.wait() == -signal.SIGKILL


async def told(bootstrap: str, prefix: str) -> dict[str, tuple[Sequence[int], Sequence[int]]]:
    """By call: the turns that are on the log in time, and those that are late."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    async with KafkaLog(bootstrap) as log:
        reader = KafkaLogReader(bootstrap, SchemaTopic(log, prepared_codec(), f"{prefix}.schemas"))
        async for batch in reader.batches([f"{prefix}.calls.v1"], {}, stop_at_end=True):
            for raw in batch.records:
                if raw.header is None or raw.header.kind is not Kind.EVENT:
                    continue
                fact = recorded(raw, reader.codec)
                in_time, late = found.setdefault(fact.stream.id, ([], []))
                if isinstance(fact.fact, EngineFailure):
                    in_time.append(fact.fact.turn)
                elif isinstance(fact.fact, LateFact):
                    late.append(fact.fact.fact.turn)
    return {call: (in_time, late) for call, (in_time, late) in found.items()}


class TestSpoolOfAKilledWorker:
    async def test_comes_home_once_and_in_order_though_the_next_are_killed_as_well(self, kafka: str, unique: str, tmp_path: Path) -> None:
        await ensure_topics(kafka, TOPICS, "local", prefix=unique)
        worker = (kafka, unique, str(tmp_path))
        await killed(*worker, "keep", at="kept")
        await killed(*worker, "drain", at="told 200")
        await killed(*worker, "drain", at="told 400")
        await killed(*worker, "drain", at="home")
        found = await told(kafka, unique)
        assert found == {f"call_{n}": (list(range(SENT)), list(range(SENT, FACTS))) for n in range(CALLS)}

    async def test_but_is_told_twice_where_nobody_remembers_ids(self, kafka: str, unique: str, tmp_path: Path) -> None:
        await ensure_topics(kafka, TOPICS, "local", prefix=unique)
        worker = (kafka, unique, str(tmp_path))
        await killed(*worker, "keep", at="kept")
        await killed(*worker, "drain-forgetfully", at="told 400")
        await killed(*worker, "drain-forgetfully", at="home")
        assert any(len(late) > FACTS for _, late in (await told(kafka, unique)).values())
