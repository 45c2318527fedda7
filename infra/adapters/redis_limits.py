"""Quotas of API keys, and how much of each is answered at once, counted in Redis over all processes: one round trip for a request."""

import asyncio
import hashlib
import itertools
import os
from collections.abc import Collection

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError

from api.limits import AtOnce, LimitsAway, Policy, Standing

# A client waits for its answer meanwhile.
_SECONDS = 0.25
# What a process answers at once is counted so long after it last said so: it may have died.
_LEASE_SECONDS = 10.0
_REPORT_SECONDS = 0.5
# Redis does one thing at a time: more connections would have no sooner answers, and to open one costs as much as twenty questions.
_CONNECTIONS = 8
# The generic cell rate algorithm, by Redis' own clock, in microseconds. KEYS[1] holds when the quota is whole again; KEYS[2], where it is
# asked for, each process's count, the end of its lease, and its order: two requests of one process may arrive in any. ARGV: window, quota,
# process, count with this request, order, most at once, lease. One line is answered, which is read at once.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, quota = tonumber(ARGV[1]), tonumber(ARGV[2])
local free = 0
if KEYS[2] then
    local count, order = tonumber(ARGV[4]), tonumber(ARGV[5])
    local held = redis.call('HGETALL', KEYS[2])
    local others = 0
    for i = 1, #held, 2 do
        local its, ends, at = string.match(held[i + 1], '(%d+) (%d+) (%d+)')
        if held[i] == ARGV[3] then
            if tonumber(at) > order then count, order = math.max(tonumber(its), count), tonumber(at) end
        elseif tonumber(ends) > now then
            others = others + its
        else
            redis.call('HDEL', KEYS[2], held[i])
        end
    end
    free = ARGV[6] - count - others
    if free < 0 then return redis.status_reply(string.format('0 0 0 %.0f', free)) end
    redis.call('HSET', KEYS[2], ARGV[3], string.format('%d %.0f %d', count, now + ARGV[7], order))
    redis.call('PEXPIRE', KEYS[2], math.ceil(ARGV[7] / 1000))
end
local each = window / quota
local whole_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = whole_at + each
if after - now > window then
    return redis.status_reply(string.format('0 %.0f %.0f %d', whole_at - now, after - now - window, free))
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
local remaining = math.floor((window - (after - now)) / each + 0.000001)
return redis.status_reply(string.format('%.0f %.0f 0 %d', remaining, after - now, free))
"""
# KEYS: of each who, as KEYS[2] above. ARGV: process, order, lease, then a count for each.
_REPORT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i, key in ipairs(KEYS) do
    local held = redis.call('HGET', key, ARGV[1])
    if not held or tonumber(string.match(held, '%d+$')) < tonumber(ARGV[2]) then
        if ARGV[3 + i] == '0' then
            redis.call('HDEL', key, ARGV[1])
        else
            redis.call('HSET', key, ARGV[1], string.format('%d %.0f %d', ARGV[3 + i], now + ARGV[3], ARGV[2]))
            redis.call('PEXPIRE', key, math.ceil(ARGV[3] / 1000))
        end
    end
end
return #KEYS
"""
_TAKE_SHA = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()
_LEASE = str(round(_LEASE_SECONDS * 1_000_000))


class RedisLimits:
    """`api.limits.Limits`. Its keys begin with `prefix`.

    Every request passes here, so the words are put as they are on a connection that is kept for them: the client's general way takes
    four times as long.
    That requests have ended is told with the key's next one, or by `run`: nobody waits for it.
    """

    def __init__(self, client: Redis, *, prefix: str = "aybiza:") -> None:
        self._connections = client.connection_pool
        self._patience = self._connections.connection_kwargs.get("socket_timeout")
        self._idle: list[AbstractConnection] = []
        self._places = asyncio.Semaphore(_CONNECTIONS)
        self._prefix = prefix
        self._process = os.urandom(8).hex()
        self._order = itertools.count(1)
        self._report = client.register_script(_REPORT)
        self.at_once = AtOnce()

    async def take(self, policy: Policy, who: str, most_at_once: int = 0) -> Standing:
        keys = [f"{self._prefix}limits:{policy.name}:{who}"]
        rest = [str(policy.window_seconds * 1_000_000), str(policy.quota)]
        if most_at_once:
            keys.append(self._at_once_key(who))
            rest += self._process, str(self.at_once[who]), str(next(self._order)), str(most_at_once), _LEASE
            self.at_once.left.discard(who)
        try:
            async with asyncio.timeout(_SECONDS), self._places:
                remaining, whole_in, wait, free = (await self._taken(str(len(keys)), *keys, *rest)).split()
        except (RedisError, OSError, TimeoutError) as cause:
            raise LimitsAway(f"Redis does not count ({type(cause).__name__})") from cause
        return Standing(int(remaining), int(whole_in) / 1e6, int(wait) / 1e6, int(free))

    async def run(self) -> None:
        """Tell what is answered at once where no request tells it, until cancelled. Redis may be away meanwhile."""
        since_all = 0.0
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            since_all += _REPORT_SECONDS
            whose = set(self.at_once.left)
            self.at_once.left.clear()
            if since_all >= _LEASE_SECONDS / 4:
                since_all = 0.0
                whose.update(self.at_once.keys())
            if whose:
                await self.report(whose)

    async def report(self, whose: Collection[str]) -> None:
        """How much of these is answered here now."""
        counts = [str(self.at_once[who]) for who in whose]
        keys = [self._at_once_key(who) for who in whose]
        try:
            await self._report(keys=keys, args=[self._process, str(next(self._order)), _LEASE, *counts])
        except (RedisError, OSError):
            # Its leases end by themselves; what still goes on is told with the next round.
            return

    def _at_once_key(self, who: str) -> str:
        return f"{self._prefix}limits:at-once:{who}"

    async def _taken(self, *rest: str) -> str:
        connection = await self._connection()
        try:
            try:
                answer = await _asked(connection, "EVALSHA", _TAKE_SHA, *rest)
            except NoScriptError:
                answer = await _asked(connection, "EVAL", _TAKE, *rest)
        except BaseException:
            # Nobody else may be given the answer that is still to come; and where Redis is gone, it is gone for all of them.
            gone, self._idle = [connection, *self._idle], []
            for each in gone:
                await self._given_back(each)
            raise
        self._idle.append(connection)
        return answer

    async def _connection(self) -> AbstractConnection:
        """One of our own that nobody uses now. The client's pool looks after each one at every use, at three times the cost."""
        while self._idle:
            connection = self._idle.pop()
            # Nothing was asked, so all there is to read is that the other side hung up.
            if connection.is_connected and not await connection.can_read():
                return connection
            await self._given_back(connection)
        opened: AbstractConnection = await self._connections.get_connection()  # type: ignore[no-untyped-call]
        # Each time that is given to a connection itself costs a task and a timer for each command; ours is given in `take`.
        opened.socket_timeout = None
        return opened

    async def _given_back(self, connection: AbstractConnection) -> None:
        await connection.disconnect(nowait=True)
        connection.socket_timeout = self._patience
        await self._connections.release(connection)


async def _asked(connection: AbstractConnection, *words: str) -> str:
    packed = [word.encode() for word in words]
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in packed]
    await connection.send_packed_command(b"*%d\r\n%b" % (len(parts), b"".join(parts)), check_health=False)
    return str(await connection.read_response())
