"""Quotas of API keys, counted in Redis over all processes: one round trip for a request."""

import asyncio
import hashlib

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from api.limits import LimitsAway, Policy, Standing

# A client waits for its answer meanwhile.
_SECONDS = 0.25
# The generic cell rate algorithm, by Redis' own clock, in microseconds. ARGV: window, quota. The key holds when the quota is whole again.
# One line is answered, which is read at once.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
local each = window / quota
local whole_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = whole_at + each
if after - now > window then
    return redis.status_reply(string.format('0 %.0f %.0f', whole_at - now, after - now - window))
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
local remaining = math.floor((window - (after - now)) / each + 0.000001)
return redis.status_reply(string.format('%.0f %.0f 0', remaining, after - now))
"""
_TAKE_SHA = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()


class RedisLimits:
    """`api.limits.Limits`. Its keys begin with `prefix`.

    Every request passes here, so the words are put on a connection of the client's as they are: its general way takes twice as long.
    """

    def __init__(self, client: Redis, *, prefix: str = "aybiza:") -> None:
        self._connections = client.connection_pool
        self._prefix = prefix

    async def take(self, policy: Policy, who: str) -> Standing:
        key = f"{self._prefix}limits:{policy.name}:{who}"
        try:
            async with asyncio.timeout(_SECONDS):
                remaining, whole_in, wait = (await self._taken(key, policy)).split()
        except (RedisError, OSError, TimeoutError) as cause:
            raise LimitsAway(f"Redis does not count ({type(cause).__name__})") from cause
        return Standing(int(remaining), int(whole_in) / 1e6, int(wait) / 1e6)

    async def _taken(self, key: str, policy: Policy) -> str:
        rest = ("1", key, str(policy.window_seconds * 1_000_000), str(policy.quota))
        connection = await self._connections.get_connection()  # type: ignore[no-untyped-call]
        try:
            try:
                return await _asked(connection, "EVALSHA", _TAKE_SHA, *rest)
            except NoScriptError:
                return await _asked(connection, "EVAL", _TAKE, *rest)
        except BaseException:
            # Nobody else may be given the answer that is still to come.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._connections.release(connection)


async def _asked(connection: AbstractConnection, *words: str) -> str:
    packed = [word.encode() for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in packed]
    await connection.send_packed_command(b"*%d\r\n%b" % (len(parts), b"".join(parts)), check_health=False)
    return str(await connection.read_response())
