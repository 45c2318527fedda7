"""Places in feeds, kept in Redis for a day under short names."""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from projections.feed_names import VectorsAway

_DAY_SECONDS = 86_400
_SECONDS = 0.5


class RedisVectors:
    """`projections.feed_names.Vectors`. Its keys begin with `prefix`."""

    def __init__(self, client: Redis, *, prefix: str = "aybiza:") -> None:
        self._client = client
        self._prefix = f"{prefix}feed:"

    async def keep(self, name: str, vector: str) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.set(self._prefix + name, vector, ex=_DAY_SECONDS)
        except (RedisError, OSError, TimeoutError) as cause:
            raise VectorsAway(f"Redis is away ({type(cause).__name__})") from cause

    async def find(self, name: str) -> str | None:
        try:
            async with asyncio.timeout(_SECONDS):
                found = await self._client.get(self._prefix + name)
        except (RedisError, OSError, TimeoutError) as cause:
            raise VectorsAway(f"Redis is away ({type(cause).__name__})") from cause
        return None if found is None else str(found)
