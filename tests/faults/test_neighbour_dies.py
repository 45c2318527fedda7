"""An owner in another process is killed under load: its partition is answered for again soon, and nothing that was answered is lost."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from commands.dispatch import CommitInDoubt, Committed, LogUnavailable
from commands.flags import FLAGS, SetFlag
from events.headers import Kind
from events.records import RawRecord
from events.streams import StreamId
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import admitted, corner, order, streams_on
from tests.neighbour import Child, Neighbour, neighbour

_PARTITION = 5


async def busy(here: Neighbour, at: StreamId, until: asyncio.Event) -> list[Committed]:
    """Commands for one stream, each again under its own id until it is answered."""
    answers: list[Committed] = []
    while not until.is_set():
        number = len(answers)
        try:
            command = SetFlag(enabled=number % 2 == 0, variant="on")
            answers.append(await here.owners(FLAGS, at, command, order(f"{number}.{at.id}"), expected_version=number))
        except LogUnavailable as away:
            await asyncio.sleep(away.retry_after_ms / 1000)
        except CommitInDoubt:
            continue
    return answers


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGSTOP])
async def test_nothing_that_was_answered_is_lost(kafka: str, unique: str, tmp_path: Path, by: signal.Signals) -> None:
    here, streams = await corner(kafka, unique), streams_on(_PARTITION, 8)
    child = Child(here, tmp_path, [_PARTITION])
    await child.start()
    async with neighbour(here, tmp_path, ()) as survivor:
        ended = asyncio.Event()
        callers = [asyncio.create_task(busy(survivor, at, ended)) for at in streams]
        await asyncio.sleep(0.3)
        assert survivor.owned() == set()
        child.signal(by)
        async with asyncio.timeout(120):
            while not survivor.owned():
                await asyncio.sleep(0.005)
        # The frozen one thaws and goes on with what it held.
        child.signal(signal.SIGCONT)
        await asyncio.sleep(0.3)
        ended.set()
        answered = {at: await caller for at, caller in zip(streams, callers, strict=True)}
        await child.end(signal.SIGKILL)
    async with KafkaLog(here.bootstrap) as log:
        taken = [raw for raw in await admitted(here.reader(log), here.flags) if raw.header is not None and raw.header.kind is Kind.EVENT]
    assert {committed.position.fence.term for each in answered.values() for committed in each} == {1, 2}
    check(answered, taken)
    last = max(committed.position.offset for each in answered.values() for committed in each)
    with pytest.raises(AssertionError):
        check(answered, [raw for raw in taken if raw.offset != last])


def check(answered: Mapping[StreamId, Sequence[Committed]], taken: Sequence[RawRecord]) -> None:
    """Every answered commit is admitted once, at the version and offset that were answered, with nothing in between."""
    for at, committed in answered.items():
        on_the_log = [(raw.offset, raw.header.version) for raw in taken if raw.key == at.key and raw.header is not None]
        assert on_the_log[: len(committed)] == [(each.position.offset, each.version) for each in committed]
