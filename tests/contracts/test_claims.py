"""The index of claims on a real broker: what one process announces, every other one learns, now and after a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from commands.ports import Claim, NewRecord, Place
from events.admission import Fence
from infra.adapters.kafka.claims import ClaimsTopic
from infra.adapters.kafka.writer import KafkaLog
from tests.kafka_corner import Corner, corner

PLACE, OTHER = Place("aybiza.flags.v1", 3), Place("aybiza.calls.v1", 0)
FIRST = Claim(1, b"a" * 16, "127.0.0.1:7100/0a0b0c0d", 0)
SECOND = Claim(2, b"b" * 16, "127.0.0.1:7101/0a0b0c0e", 17)


@pytest.fixture
async def here(kafka: str, unique: str) -> Corner:
    return await corner(kafka, unique)


@asynccontextmanager
async def following(here: Corner) -> AsyncIterator[ClaimsTopic]:
    async with KafkaLog(here.bootstrap) as log:
        schemas = here.schemas(log)
        async with ClaimsTopic(here.bootstrap, log, schemas, schemas.codec, f"{here.prefix}.claims") as claims:
            yield claims


async def known(claims: ClaimsTopic, place: Place, claim: Claim) -> None:
    """Returns when this claim is known."""
    async with asyncio.timeout(120):
        while claims.of(place) != claim:
            await asyncio.sleep(0.005)


class TestClaim:
    async def test_is_learned_by_whoever_runs_and_whoever_begins(self, here: Corner) -> None:
        async with following(here) as one, following(here) as other:
            one.announce(PLACE, FIRST)
            await known(other, PLACE, FIRST)
            other.announce(PLACE, SECOND)
            other.announce(OTHER, FIRST)
            await known(one, PLACE, SECOND)
            await known(one, OTHER, FIRST)
        async with following(here) as late:
            # It is known as soon as it runs.
            assert (late.of(PLACE), late.of(OTHER)) == (SECOND, FIRST)

    async def test_is_found_for_an_offset(self, here: Corner) -> None:
        async with following(here) as claims, following(here) as other:
            for claim in (FIRST, SECOND):
                other.announce(PLACE, claim)
                await known(claims, PLACE, claim)
            found = [await claims.claim_before(PLACE, offset) for offset in (0, 1, 17, 18)]
            assert found == [None, (0, Fence(1, b"a" * 16)), (0, Fence(1, b"a" * 16)), (17, Fence(2, b"b" * 16))]

    async def test_after_nonsense_is_learned_all_the_same(self, here: Corner) -> None:
        async with KafkaLog(here.bootstrap) as log, following(here) as claims:
            await log.append(Place(f"{here.prefix}.claims", 0), [NewRecord(b"nonsense", b"nonsense", 1_000, [])])
            claims.announce(PLACE, FIRST)
            async with following(here) as other:
                await known(other, PLACE, FIRST)
