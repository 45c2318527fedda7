"""A broker that is killed or frozen under load: what was acknowledged is there once, and what was in doubt is settled."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from commands.dispatch import CommitInDoubt, Committed, LogUnavailable
from commands.flags import FLAGS, SetFlag
from commands.ownership.partition import Patience
from commands.routing.owners import Owners
from events.headers import Kind
from events.records import RawRecord
from events.streams import StreamId
from infra.adapters.kafka.writer import KafkaLog
from infra.settings import Settings
from tests.faults.own_broker import OwnBroker
from tests.kafka_corner import Corner, admitted, corner, order, stream

PATIENCE = Patience(answer_seconds=3.0, away_seconds=0.05)
CALLERS = 12


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[OwnBroker]:
    """One for all tests here: each leaves it running."""
    broker = OwnBroker(tmp_path_factory.mktemp("broker") / "kafka", settings)
    try:
        asyncio.run(broker.start())
        yield broker
    finally:
        asyncio.run(broker.kill())


@pytest.fixture
async def here(broker: OwnBroker, unique: str) -> Corner:
    return await corner(broker.address, unique)


@dataclass(slots=True)
class Load:
    """Callers who insist: each sends its next command, under its own id, until it is acknowledged."""

    acknowledged: list[tuple[StreamId, Committed]] = field(default_factory=list)
    unavailable: int = 0
    in_doubt: int = 0
    calling: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def caller(self, owners: Owners, number: int) -> None:
        at, turn = stream(f"s{number % 5}"), 0
        self.calling += 1
        while not self.stopping.is_set():
            turn += 1
            command, wanted = SetFlag(enabled=True, variant=f"c{number}t{turn}"), order(f"c{number}t{turn}")
            while True:
                try:
                    committed = await owners(FLAGS, at, command, wanted)
                except LogUnavailable as away:
                    self.unavailable += 1
                    await asyncio.sleep(away.retry_after_ms / 1000)
                except CommitInDoubt:
                    self.in_doubt += 1
                else:
                    self.acknowledged.append((at, committed))
                    break
        self.calling -= 1

    async def more(self, count: int) -> None:
        """Wait until so many more were acknowledged."""
        enough = len(self.acknowledged) + count
        async with asyncio.timeout(120):
            while len(self.acknowledged) < enough:
                await asyncio.sleep(0.01)


async def follow(here: Corner, log: KafkaLog, seen: list[RawRecord]) -> None:
    """Read for ever, as a projection does."""
    async with aclosing(here.reader(log).batches([here.flags], {})) as batches:
        async for batch in batches:
            seen.extend(batch.records)


async def admitted_when_quiet(load: Load, here: Corner, log: KafkaLog) -> list[RawRecord]:
    """All that is admitted, once every caller has its last answer."""
    async with asyncio.timeout(120):
        while load.calling:
            await asyncio.sleep(0.01)
    return await admitted(here.reader(log), here.flags)


def place_of(raw: RawRecord) -> tuple[int, int]:
    return raw.partition, raw.offset


async def check(load: Load, here: Corner, log: KafkaLog) -> None:
    """Every acknowledged command is admitted at its place, once; versions have no gap."""
    raws = await admitted(here.reader(log), here.flags)
    by_place = {(raw.partition, raw.offset): raw for raw in raws}
    versions: dict[bytes, int] = {}
    effects: dict[tuple[bytes, bytes], int] = {}
    for raw in raws:
        assert raw.header is not None
        if raw.header.kind is Kind.EVENT:
            versions[raw.key] = versions.get(raw.key, 0) + 1
            assert raw.header.version == versions[raw.key]
            effects[raw.key, raw.header.command_id] = effects.get((raw.key, raw.header.command_id), 0) + 1
    assert set(effects.values()) == {1}
    assert len({(at, committed.position.offset) for at, committed in load.acknowledged}) == len(load.acknowledged) == len(effects)
    for at, committed in load.acknowledged:
        raw = by_place[committed.position.partition, committed.position.offset]
        assert raw.header is not None
        assert (raw.key, raw.header.version) == (at.key, committed.version)


class TestBroker:
    async def test_killed_under_load_loses_and_doubles_nothing(self, broker: OwnBroker, here: Corner) -> None:
        load, seen = Load(), list[RawRecord]()
        async with KafkaLog(here.bootstrap, append_seconds=0.5) as log, here.owners(log, PATIENCE) as owners:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(follow(here, log, seen))
                for number in range(CALLERS):
                    tasks.create_task(load.caller(owners, number))
                await load.more(100)
                await broker.kill()
                await broker.start()
                await load.more(100)
                load.stopping.set()
                whole = await admitted_when_quiet(load, here, log)
                async with asyncio.timeout(120):
                    while len(seen) < len(whole):
                        await asyncio.sleep(0.01)
                reading.cancel()
            assert load.unavailable + load.in_doubt > 0
            await check(load, here, log)
        # A reader who was reading all the while saw the same, in each partition's order, once.
        assert sorted(seen, key=place_of) == sorted(whole, key=place_of)
        for partition in range(here.partitions):
            offsets = [raw.offset for raw in seen if raw.partition == partition]
            assert offsets == sorted(set(offsets))

    async def test_frozen_under_load_leaves_doubt_that_is_settled(self, broker: OwnBroker, here: Corner) -> None:
        load = Load()
        async with KafkaLog(here.bootstrap, append_seconds=0.3, read_seconds=1.0) as log, here.owners(log, PATIENCE) as owners:
            terms = {each.place: each.term for each in owners.ownerships()}
            async with asyncio.TaskGroup() as tasks:
                for number in range(CALLERS):
                    tasks.create_task(load.caller(owners, number))
                for _ in range(3):
                    await load.more(50)
                    broker.freeze()
                    # Longer than an append's patience: every batch under way is in doubt, and sockets are severed.
                    await asyncio.sleep(0.8)
                    broker.thaw()
                await load.more(50)
                load.stopping.set()
            claimed_again = [each for each in owners.ownerships() if each.term > terms[each.place]]
            assert claimed_again, "a batch in doubt is settled by a new claim"
            await check(load, here, log)

    async def test_that_stays_away_is_answered_in_time_and_forgiven_when_it_returns(self, broker: OwnBroker, here: Corner) -> None:
        async with KafkaLog(here.bootstrap, append_seconds=0.3, read_seconds=1.0) as log, here.owners(log, PATIENCE) as owners:
            await owners(FLAGS, stream(), SetFlag(enabled=True, variant="before"), order("before"))
            await broker.kill()
            for number in range(3):
                with pytest.raises((LogUnavailable, CommitInDoubt)):
                    await owners(FLAGS, stream(), SetFlag(enabled=True, variant="meanwhile"), order(f"meanwhile{number}"))
            await broker.start()
            assert (await again(owners, "after")).version >= 2

    async def test_frozen_does_not_keep_a_process_from_stopping(self, broker: OwnBroker, here: Corner) -> None:
        async with asyncio.timeout(60):
            async with KafkaLog(here.bootstrap, append_seconds=0.3, read_seconds=1.0) as log, here.owners(log, PATIENCE) as owners:
                broker.freeze()
                asked = asyncio.ensure_future(owners(FLAGS, stream(), SetFlag(enabled=True, variant="on"), order("first")))
                await asyncio.sleep(0)
            broker.thaw()
        with pytest.raises((LogUnavailable, CommitInDoubt)):
            await asked


async def again(owners: Owners, name: str) -> Committed:
    """Send a command until it is acknowledged."""
    async with asyncio.timeout(120):
        while True:
            try:
                return await owners(FLAGS, stream(), SetFlag(enabled=True, variant=name), order(name))
            except LogUnavailable as away:
                await asyncio.sleep(away.retry_after_ms / 1000)
            except CommitInDoubt:
                continue
