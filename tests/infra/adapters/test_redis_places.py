"""Processes that share an account know what the others hold of it."""

import pytest

from infra.adapters.redis import connected
from infra.adapters.redis_places import RedisPlaces, opened_places
from realtime.engines.ports import PlacesUnknown


class TestPlaces:
    async def test_are_what_the_others_said_last(self, redis_url: str, redis_prefix: str) -> None:
        async with connected(redis_url) as client:
            one, two, three = (RedisPlaces(client, name, prefix=redis_prefix, believed_seconds=60) for name in ("one", "two", "three"))
            assert await one(3) == 0
            assert await two(4) == 3
            assert await one(5) == 4
            assert await three(0) == 9

    async def test_of_a_process_that_is_gone_are_free(self, redis_url: str, redis_prefix: str) -> None:
        async with connected(redis_url) as client:
            gone = RedisPlaces(client, "gone", prefix=redis_prefix)
            await gone(7)
            assert await RedisPlaces(client, "here", prefix=redis_prefix, believed_seconds=60)(1) == 7
            assert await RedisPlaces(client, "here", prefix=redis_prefix, believed_seconds=-1)(1) == 0

    async def test_are_not_known_without_redis(self) -> None:
        async with opened_places("redis://127.0.0.1:1", "one") as places:
            with pytest.raises(PlacesUnknown):
                await places(1)
