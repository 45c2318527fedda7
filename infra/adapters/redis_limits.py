"""Quotas of API keys, counted in Redis over all processes: one round trip for a request."""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.limits import LimitsAway, Policy, Standing

# A client waits for its answer meanwhile.
_SECONDS = 0.25
# The generic cell rate algorithm, by Redis' own clock, in microseconds. ARGV: window, quota. The key holds when the quota is whole again.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
local each = window / quota
local whole_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = whole_at + each
if after - now > window then
    return {0, string.format('%.0f', whole_at - now), string.format('%.0f', after - now - window)}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {math.floor((window - (after - now)) / each + 0.000001), string.format('%.0f', after - now), '0'}
"""


class RedisLimits:
    """`api.limits.Limits`. Its keys begin with `prefix`."""

    def __init__(self, client: Redis, *, prefix: str = "aybiza:") -> None:
        self._take = client.register_script(_TAKE)
        self._prefix = prefix

    async def take(self, policy: Policy, who: str) -> Standing:
        key = f"{self._prefix}limits:{policy.name}:{who}"
        try:
            async with asyncio.timeout(_SECONDS):
                remaining, whole_in, wait = await self._take(keys=[key], args=[policy.window_seconds * 1_000_000, policy.quota])
        except (RedisError, OSError, TimeoutError) as cause:
            raise LimitsAway(f"Redis does not count ({type(cause).__name__})") from cause
        return Standing(int(remaining), int(whole_in) / 1e6, int(wait) / 1e6)
