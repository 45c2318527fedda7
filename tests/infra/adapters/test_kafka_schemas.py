"""The log's own schemas: there before their first use, whoever was first and whoever fell over in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from commands.ports import AppendInDoubt, LogAway, NewRecord, Place
from events.codec import Codec
from events.flags import FlagRemoved, FlagSet
from events.registry import type_of
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import Corner, corner, everything

SET, REMOVED = FlagSet(enabled=True, variant="on"), FlagRemoved()
KINDS = [type_of(SET), type_of(REMOVED)]


class Unsure(KafkaLog):
    """A log whose answers do not arrive, for as long as it is `unsure`: the batch does."""

    unsure = True

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        offset = await super().append(place, records)
        if self.unsure:
            raise AppendInDoubt("the answer was lost")
        return offset


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


@pytest.fixture
def place(here: Corner) -> Place:
    return Place(f"{here.prefix}.schemas", 0)


@pytest.fixture
async def log(here: Corner) -> AsyncIterator[KafkaLog]:
    async with KafkaLog(here.bootstrap) as log:
        yield log


async def learnt(here: Corner, log: KafkaLog) -> Codec:
    """What a reader knows who knew nothing."""
    reader = here.schemas(log, Codec())
    async with asyncio.timeout(120):
        await reader.learn([Codec().schema(fact)[0] for fact in (SET, REMOVED)])
    return reader.codec


class TestRegister:
    async def test_by_processes_that_race_leaves_every_one_with_its_schemas_on_the_log(self, here: Corner, log: KafkaLog) -> None:
        async with AsyncExitStack() as stack:
            logs = [await stack.enter_async_context(KafkaLog(here.bootstrap)) for _ in range(6)]
            async with asyncio.TaskGroup() as tasks:
                for each in logs:
                    tasks.create_task(here.schemas(each).register(KINDS))
        codec = await learnt(here, log)
        assert [codec.decode(Codec().encode(fact)) for fact in (SET, REMOVED)] == [SET, REMOVED]

    async def test_by_one_that_lost_the_race_finds_what_the_other_wrote(self, here: Corner, log: KafkaLog, place: Place) -> None:
        late = here.schemas(log)
        await late.register([type_of(SET)])
        await here.schemas(log).register(KINDS)
        await late.register(KINDS)
        assert [raw.key.decode() for raw in await everything(log, place)] == [Codec().schema(fact)[0].hex() for fact in (SET, REMOVED)]

    async def test_that_is_in_doubt_is_no_registration(self, here: Corner, log: KafkaLog, place: Place) -> None:
        async with Unsure(here.bootstrap) as unsure:
            schemas = here.schemas(unsure)
            with pytest.raises(LogAway, match="not certain"):
                await schemas.register(KINDS)
            unsure.unsure = False
            await schemas.register(KINDS)
        await learnt(here, log)
        # It had arrived after all, and was found.
        assert len(await everything(log, place)) == 2

    async def test_by_a_process_that_dies_in_between_leaves_the_next_one_to_do_it(self, here: Corner, log: KafkaLog) -> None:
        async with Unsure(here.bootstrap) as dying:
            registering = asyncio.ensure_future(here.schemas(dying).register([type_of(SET)]))
            await asyncio.sleep(0)
            registering.cancel()
            await asyncio.wait([registering])
        await here.schemas(log).register(KINDS)
        await learnt(here, log)

    async def test_writes_again_what_a_stranger_wrote_over(self, here: Corner, log: KafkaLog, place: Place) -> None:
        first = here.schemas(log)
        await first.register(KINDS)
        mark, schema = Codec().schema(SET)
        other = json.dumps(Codec().schema(REMOVED)[1]).encode()
        for broken in (b"no schema", b'{"type": "nothing"}', b"[]", other):
            await log.append(place, [NewRecord(mark.hex().encode(), broken, 0, [])])
        await log.append(place, [NewRecord(b"no fingerprint", b"", 0, [])])
        await here.schemas(log).register(KINDS)
        last = [raw for raw in await everything(log, place) if raw.key == mark.hex().encode()][-1]
        assert json.loads(last.value) == schema

    async def test_is_asked_of_the_log_once(self, here: Corner, log: KafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
        schemas: SchemaTopic = here.schemas(log)
        await schemas.register(KINDS)

        async def unreachable(_place: Place) -> int:
            raise LogAway("nobody may ask")

        monkeypatch.setattr(log, "end_offset", unreachable)
        await schemas.register(KINDS)
