"""Who answers a number and which keys are good, from memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from events.agents import AgentCreated, AgentVersionPublished
from events.environments import AgentPinned, AgentUnpinned, EnvironmentClosed, EnvironmentOpened
from events.flags import FlagRemoved, FlagSet
from events.numbers import NumberAssigned, NumberReleased
from events.organisations import ApiKeyIssued, ApiKeyRevoked, OrganisationCreated
from events.positions import Position
from events.records import RawRecord
from events.sealing import Sealed
from events.streams import PLATFORM, StreamId
from projections.directory import Directory, KnownKey, follow
from tests.projections.paper import FENCE, PaperReader
from tests.projections.told import AYB

NUMBER_REF = "n" * 32
ORGANISATION = StreamId(AYB, "organisations", AYB)
AGENT = StreamId(AYB, "agents", "agt_1")
NUMBER = StreamId(PLATFORM, "numbers", NUMBER_REF)
FLAG = StreamId(AYB, "flags", "greeting")
PUBLISHED = AgentVersionPublished(version_hash="1" * 64, label="1", configuration='{"greeting":{"text":"hello"}}')
ASSIGNED = NumberAssigned(organisation_id=AYB, agent_id="agt_1", number=Sealed(AYB, b"box"))


def business() -> PaperReader:
    reader = PaperReader()
    reader.append(ORGANISATION, OrganisationCreated(name="Bella Vista", region="ca"))
    reader.append(AGENT, AgentCreated(name="Front desk"))
    reader.append(AGENT, PUBLISHED)
    reader.append(NUMBER, ASSIGNED)
    return reader


@asynccontextmanager
async def following(reader: PaperReader) -> AsyncIterator[Directory]:
    directory = Directory()
    task = asyncio.create_task(follow(reader, directory))
    async with asyncio.timeout(120):
        await directory.caught_up.wait()
    try:
        yield directory
    finally:
        task.cancel()
        await asyncio.wait([task])


def position(raw: RawRecord) -> Position:
    return Position(raw.topic, raw.partition, raw.offset, FENCE)


class TestRoute:
    async def test_names_the_live_version_its_configuration_and_the_flags_that_are_on(self) -> None:
        reader = business()
        reader.append(FLAG, FlagSet(enabled=True, variant="short"))
        reader.append(StreamId(AYB, "flags", "music"), FlagSet(enabled=False, variant="jazz"))
        async with following(reader) as directory:
            route = directory.route(NUMBER_REF)
            assert route is not None
            assert (route.organisation_id, route.organisation_name, route.agent_id) == (AYB, "Bella Vista", "agt_1")
            assert (route.agent_version, route.version_hash, route.configuration) == ("1", "1" * 64, {"greeting": {"text": "hello"}})
            assert route.flags == {"greeting": "short"}

    async def test_is_none_for_a_number_that_nobody_holds(self) -> None:
        reader = business()
        reader.append(NUMBER, NumberReleased(organisation_id=AYB))
        async with following(reader) as directory:
            assert directory.route(NUMBER_REF) is None
            assert directory.route("x" * 32) is None
            assert directory.holder(NUMBER_REF) is None

    async def test_is_none_before_the_agent_has_a_version(self) -> None:
        reader = PaperReader()
        reader.append(ORGANISATION, OrganisationCreated(name="Bella Vista", region="ca"))
        reader.append(AGENT, AgentCreated(name="Front desk"))
        reader.append(NUMBER, ASSIGNED)
        async with following(reader) as directory:
            assert directory.route(NUMBER_REF) is None
            assert directory.holder(NUMBER_REF) == AYB

    async def test_follows_what_is_written_and_says_when_it_has_seen_it(self) -> None:
        reader = business()
        async with following(reader) as directory:
            last = position(reader.append(AGENT, replace(PUBLISHED, label="2", version_hash="2" * 64)))
            assert await directory.wait_for([last], 120)
            route = directory.route(NUMBER_REF)
            assert route is not None
            assert route.agent_version == "2"
            gone = position(reader.append(FLAG, FlagSet(enabled=True, variant="v"), FlagRemoved()))
            assert await directory.wait_for([gone], 120)
            assert directory.flags(AYB) == {}

    async def test_knows_a_version_that_is_live_no_more(self) -> None:
        reader = business()
        # Read as one group: the row of the agent never had the one between.
        reader.append(AGENT, *(replace(PUBLISHED, label=f"{n}", version_hash=f"{n}" * 64, configuration=f'{{"n":{n}}}') for n in (2, 3)))
        async with following(reader) as directory:
            found = [directory.configuration(AYB, "agt_1", f"{n}" * 64) for n in (1, 2, 3, 4)]
            assert found == [{"greeting": {"text": "hello"}}, {"n": 2}, {"n": 3}, None]
            assert directory.configuration("AYB-other", "agt_1", "1" * 64) is None

    async def test_knows_the_latest_versions_of_an_agent_only(self) -> None:
        reader = business()
        reader.append(AGENT, *(replace(PUBLISHED, label=f"{n}", version_hash=f"{n:064}") for n in range(16)))
        async with following(reader) as directory:
            assert directory.configuration(AYB, "agt_1", "1" * 64) is None
            assert directory.configuration(AYB, "agt_1", f"{0:064}") is not None

    async def test_names_the_version_that_is_pinned_in_the_numbers_environment(self) -> None:
        reader, staging = business(), StreamId(AYB, "environments", "staging")
        pin = AgentPinned(agent_id="agt_1", version_hash="9" * 64, label="9", configuration='{"n":9}')
        reader.append(NUMBER, replace(ASSIGNED, environment="staging"))
        async with following(reader) as directory:

            async def after(*facts: object) -> tuple[str, str]:
                assert await directory.wait_for([position(reader.append(staging, *facts))], 120)
                route = directory.route(NUMBER_REF)
                assert route is not None
                return route.agent_version, route.environment

            # Where nothing is pinned, what is live answers.
            assert await after(EnvironmentOpened()) == ("1", "staging")
            assert await after(pin) == ("9", "staging")
            assert directory.configuration(AYB, "agt_1", "9" * 64) == {"n": 9}
            assert "9" * 64 in directory.configurations()
            assert await after(AgentUnpinned(agent_id="agt_1")) == ("1", "staging")
            assert await after(pin, EnvironmentClosed()) == ("1", "staging")
            assert await after(EnvironmentOpened()) == ("1", "staging")

    async def test_does_not_wait_longer_than_it_is_told(self) -> None:
        async with following(business()) as directory:
            assert not await directory.wait_for([Position("aybiza.flags.v1", 0, 99, FENCE)], 0.05)
            assert await directory.wait_for([Position("aybiza.calls.v1", 0, 99, FENCE)], 0.05)


class TestApiKey:
    async def test_opens_until_it_is_revoked(self) -> None:
        reader = business()
        reader.append(ORGANISATION, ApiKeyIssued(key_id="k1", label="till", secret_hash=b"s" * 32))
        async with following(reader) as directory:
            assert directory.api_key("k1") == KnownKey(AYB, b"s" * 32)
            assert await directory.wait_for([position(reader.append(ORGANISATION, ApiKeyRevoked(key_id="k1")))], 120)
            assert directory.api_key("k1") is None

    async def test_is_known_by_its_id_alone(self) -> None:
        async with following(business()) as directory:
            assert directory.api_key("nobody") is None
