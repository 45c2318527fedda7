"""Live rows in Redis: written under the same compare-and-set as rows in PostgreSQL, read while they live."""

import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from events.admission import Fence
from events.records import RawRecord
from projections.columns import Stored, building, lowering
from projections.live import Live
from projections.ports import Advance, Checkpoint, Mark, Opened, Place, Projection, Sick, StoreUnavailable, Superseded, Writes, named
from projections.queries import RowsUnavailable
from projections.table import ORGANISATION, Key, StreamRow, Table

R = TypeVar("R", bound=StreamRow)
_SECONDS = 5.0

# ARGV[1]: marks as field names, ARGV[2]: the epochs held (or an empty list). A mark that is not there begins at the beginning, also
# for who held it: Redis came back empty.
_OPEN = """
local marks, held = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
local now = {}
for i, mark in ipairs(marks) do
    now[i] = redis.call('HGET', KEYS[1], mark) or ARGV[3]
    local epoch = string.match(now[i], '(%d+)$')
    if #held > 0 and epoch ~= '0' and epoch ~= held[i] then return {err = 'SUPERSEDED'} end
end
for i, mark in ipairs(marks) do
    local place, epoch = string.match(now[i], '^(.*/)(%d+)$')
    now[i] = place .. string.format('%d', epoch + 1)
    redis.call('HSET', KEYS[1], mark, now[i])
end
return now
"""
# ARGV[1]: steps as {field, as seen, next}; ARGV[2]: rows as {key, organisation, member, expires at ms, {name, value, ...}}, without the
# last for one that is gone; ARGV[3]: what an index's name begins with.
_WRITE = """
local steps, rows = cjson.decode(ARGV[1]), cjson.decode(ARGV[2])
for _, step in ipairs(steps) do
    local now = redis.call('HGET', KEYS[1], step[1])
    if not now then return {err = 'EMPTY'} end
    if now ~= step[2] then return {err = 'SUPERSEDED'} end
end
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
for _, row in ipairs(rows) do
    local before = redis.call('HGET', row[1], 'organisation_id')
    if before then redis.call('ZREM', row[6] .. before, row[3]) end
    redis.call('DEL', row[1])
    if row[5][1] and row[4] > now_ms then
        local index = row[6] .. row[2]
        redis.call('HSET', row[1], unpack(row[5]))
        redis.call('PEXPIREAT', row[1], row[4])
        redis.call('ZREMRANGEBYSCORE', index, '-inf', now_ms)
        redis.call('ZADD', index, row[4], row[3])
        redis.call('PEXPIREAT', index, string.format('%d', redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]))
    end
end
for _, step in ipairs(steps) do redis.call('HSET', KEYS[1], step[1], step[3]) end
return #steps
"""
_TEXT: Mapping[Stored, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    Stored.TEXT: (str, str),
    Stored.JSON: (str, str),
    Stored.INTEGER: (str, int),
    Stored.BOOLEAN: (lambda value: "1" if value else "0", lambda text: text == "1"),
    Stored.REAL: (repr, float),
    Stored.DECIMAL: (str, Decimal),
    Stored.TIME: (datetime.isoformat, datetime.fromisoformat),
    Stored.BYTES: (bytes.hex, bytes.fromhex),
}


class RedisUnreachable(Exception):
    """Redis does not answer; the text says what to do."""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Redis"]:
    """A client. Raises RedisUnreachable."""
    # The library looks its own version up on the disk for each connection that is not told: half a millisecond, in which all else waits.
    client: Redis = Redis.from_url(
        url, decode_responses=True, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS, driver_info=DriverInfo()
    )
    try:
        try:
            await client.ping()
        except (RedisError, OSError) as cause:
            raise RedisUnreachable(
                f"Redis does not answer ({type(cause).__name__}: {cause}). Start it (aybiza up), or set REDIS_URL"
            ) from cause
        yield client
    finally:
        await client.aclose()


@contextmanager
def _raising(unavailable: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as cause:
        if "SUPERSEDED" in str(cause):
            raise Superseded("another runner has taken the live rows over") from cause
        if "EMPTY" in str(cause):
            raise StoreUnavailable("Redis came back empty; the live rows are folded again") from cause
        raise unavailable(f"Redis is away ({type(cause).__name__}: {cause})") from cause


class _Names:
    """How our keys are called. All begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.checkpoints = f"{prefix}read_side:checkpoints"

    def row(self, table: Table[Any], key: Key) -> str:
        return f"{self.prefix}{named(table)}:{key[0]}/{key[1]}"

    def index(self, table: Table[Any]) -> str:
        """What the name of an organisation's index begins with."""
        return f"{self.prefix}{named(table)}@"


class RedisStore:
    """`projections.ports.Store` for live rows. Keys are found by name inside scripts, so it asks for one Redis, not a cluster."""

    def __init__(self, client: "Redis", lives: Sequence[Live[Any]], *, prefix: str = "aybiza:") -> None:
        self._client = client
        self._lifetimes = {live.table: live.lifetime_seconds * 1000 for live in lives}
        self._names = _Names(prefix)
        self._open = client.register_script(_OPEN)
        self._write = client.register_script(_WRITE)

    async def open(self, marks: Collection[tuple[Projection, Place]], held: Mapping[Mark, int] | None = None) -> Opened:
        own = [(named(projection), place) for projection, place in marks]
        epochs_held = [] if held is None else [str(held.get(mark, 0)) for mark in own]
        arguments = [json.dumps([_field(mark) for mark in own]), json.dumps(epochs_held), _checkpoint_text(Checkpoint(), 0)]
        with _raising(StoreUnavailable):
            texts = await self._open(keys=[self._names.checkpoints], args=arguments)
        read = [_read_checkpoint(text) for text in texts]
        return Opened(
            checkpoints={mark: checkpoint for mark, (checkpoint, _) in zip(own, read, strict=True)},
            epochs={mark: epoch for mark, (_, epoch) in zip(own, read, strict=True)},
            parked={},
        )

    async def rows(self, table: Table[Any], keys: Collection[Key]) -> Mapping[Key, Any]:
        with _raising(StoreUnavailable):
            found = await _hashes(self._client, [self._names.row(table, key) for key in keys])
        return {key: _built(table, stored) for key, stored in zip(keys, found, strict=True) if stored}

    async def prepare(self, journal: Sequence[RawRecord]) -> None:
        """Here is no journal."""

    async def write(self, writes: Writes) -> None:
        rows = [
            self._row(table, key, folded.row, folded.appended_at)
            for table, changed in writes.rows.items()
            for key, folded in changed.items()
        ]
        with _raising(StoreUnavailable):
            await self._write(
                keys=[self._names.checkpoints], args=[json.dumps([_step(each) for each in writes.advances]), json.dumps(rows)]
            )

    async def sick(self, marks: Collection[Mark]) -> Sequence[Sick]:
        """Nothing is parked here: live rows are folded again from the log when their program is mended."""
        del marks
        return ()

    async def refused(self, writes: Writes) -> Mapping[tuple[str, Key], str]:
        return {}

    async def drop(self) -> None:
        """Delete every key of ours. Whoever runs finds Redis empty, and folds again."""
        with _raising(StoreUnavailable):
            async for key in self._client.scan_iter(match=f"{self._names.prefix}*", count=1000):
                await self._client.delete(key)

    def _row(self, table: Table[Any], key: Key, row: Any, appended_at: datetime) -> list[Any]:
        expires_ms = int(appended_at.timestamp() * 1000) + self._lifetimes[table]
        organisation, fields = "", []
        if row is not None:
            organisation = table.organisation(row)
            values = zip(table.columns, lowering(table.columns)(row), strict=True)
            stored = {column.name: _TEXT[column.stored][0](value) for column, value in values if value is not None}
            fields = [part for pair in (stored | {ORGANISATION: organisation}).items() for part in pair]
        return [self._names.row(table, key), organisation, "/".join(key), expires_ms, fields, self._names.index(table)]


class RedisLiveRows:
    """`projections.queries.LiveRows`."""

    def __init__(self, client: "Redis", *, prefix: str = "aybiza:") -> None:
        self._client = client
        self._names = _Names(prefix)

    async def get(self, live: Live[R], tenant: str, row_id: str) -> R | None:
        with _raising(RowsUnavailable):
            stored = (await _hashes(self._client, [self._names.row(live.table, (tenant, row_id))]))[0]
        return _built(live.table, stored) if stored else None

    async def find(self, live: Live[R], *, organisation: str, limit: int = 200) -> Sequence[R]:
        index = self._names.index(live.table) + organisation
        with _raising(RowsUnavailable):
            members = await self._client.zrangebyscore(index, f"({int(time.time() * 1000)}", "+inf")
            keys = sorted((str(member).split("/") for member in members), key=lambda key: key[::-1], reverse=True)[:limit]
            found = await _hashes(self._client, [self._names.row(live.table, (tenant, row_id)) for tenant, row_id in keys])
        return [_built(live.table, stored) for stored in found if stored]


async def _hashes(client: "Redis", names: Sequence[str]) -> list[dict[str, str]]:
    if not names:
        return []
    async with client.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hgetall(name)
        found: list[dict[str, str]] = await pipeline.execute()
    return found


def _built(table: Table[R], stored: Mapping[str, str]) -> R:
    values = {
        column.name: _TEXT[column.stored][1](stored[column.name]) if column.name in stored else None for column in table.columns
    }  # fmt: skip
    return building(table.row, table.columns)(values)


def _field(mark: Mark) -> str:
    return f"{mark[0]}/{mark[1].topic}/{mark[1].partition}"


def _checkpoint_text(checkpoint: Checkpoint, epoch: int) -> str:
    return f"{checkpoint.next_offset}/{checkpoint.fence.term}/{checkpoint.fence.claim_id.hex()}/{epoch}"


def _read_checkpoint(text: str) -> tuple[Checkpoint, int]:
    next_offset, term, claim_id, epoch = text.split("/")
    return Checkpoint(int(next_offset), Fence(int(term), bytes.fromhex(claim_id))), int(epoch)


def _step(advance: Advance) -> list[str]:
    mark = _field((advance.projection, advance.place))
    return [mark, _checkpoint_text(advance.seen, advance.epoch), _checkpoint_text(advance.reached, advance.epoch)]
