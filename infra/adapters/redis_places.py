"""How many places of the providers' accounts the processes hold together, in Redis: each says its own and hears the others'."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from realtime.engines.ports import PlacesUnknown

_SECONDS: Final = 1.0
# KEYS: when each process was heard of last, and what it holds. ARGV: the process, what it holds, how long it is believed (ms).
# Answers with what the others hold; who has not been heard of for so long is gone, and holds nothing.
_TELL = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms - ARGV[3])) do
    redis.call('ZREM', KEYS[1], gone)
    redis.call('HDEL', KEYS[2], gone)
end
redis.call('ZADD', KEYS[1], now_ms, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local held = -ARGV[2]
for _, count in ipairs(redis.call('HVALS', KEYS[2])) do held = held + count end
return held
"""


class RedisPlaces:
    """`realtime.engines.ports.PlacesElsewhere` of the process of that name."""

    def __init__(self, client: Redis, process: str, *, prefix: str = "aybiza:", believed_seconds: float = 5.0) -> None:
        self._tell = client.register_script(_TELL)
        self._process, self._believed_ms = process, int(1000 * believed_seconds)
        self._keys = (f"{prefix}places:heard", f"{prefix}places:held")

    async def __call__(self, held: int) -> int:
        try:
            return int(await self._tell(keys=self._keys, args=[self._process, held, self._believed_ms]))
        except (RedisError, OSError) as cause:
            raise PlacesUnknown(type(cause).__name__) from cause


@asynccontextmanager
async def opened_places(url: str, process: str) -> AsyncIterator[RedisPlaces]:
    """Also where Redis does not answer: nobody waits for a count."""
    client: Redis = Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
    try:
        yield RedisPlaces(client, process)
    finally:
        await client.aclose()
