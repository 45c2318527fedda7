"""Cold parts of the journal, packed while the projections run: one at a time, by one process of all, and never in anybody's way."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from infra.adapters.postgres.builds import live_builds
from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.packing import CannotPack, live_parts, next_cold, step
from infra.settings import Settings
from projections.journal import JOURNAL, Journal
from projections.ports import StoreUnavailable

log = structlog.get_logger()

# Any number that nobody else takes. Whoever holds it packs; it is free as soon as that process is gone.
_PACKER = 0x61796205


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often is looked for a cold part, and how long is rested for each second of work, less the more parts wait: with four a quarter.

    `lock_ms`: for so long at most are others held up while a part is put in its place; after that they are let through, for `held_seconds`.
    """

    look_seconds: float = 30.0
    rest: float = 4.0
    lock_ms: int = 50
    held_seconds: float = 5.0


DEFAULT_PACE = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """Parts that are cold and not packed, and how far the one is that is being packed: its name and records. Nothing is: empty, 0."""

    parts: int = 0
    packing: str = ""
    records: int = 0


def packed_after(settings: Settings) -> timedelta | None:
    """How long nothing must have been appended to a part before it is packed; None: it is not."""
    return timedelta(hours=settings.pack_journal_after_hours) if settings.pack_journal else None


async def cold_parts(pool: Pool) -> Cold:
    """As readers see the journal now. Raises StoreUnavailable."""
    with raising(StoreUnavailable):
        live = await _live(pool)
        async with pool.acquire() as connection:
            found = await live_parts(connection, live)
    under_way = next((each for each in found if each.packing is not None), None)
    cold = sum(each.cold for each in found)
    if under_way is None:
        return Cold(parts=cold)
    return Cold(parts=cold, packing=under_way.name, records=under_way.packing or 0)


async def keep_packed(
    pool: Pool, after: timedelta, pace: Pace = DEFAULT_PACE, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Until cancelled: pack what is cold and was last appended to so long ago. Any number of processes may do it; one of them does."""
    said = ""
    while True:
        await asyncio.sleep(pace.look_seconds)
        try:
            with raising(StoreUnavailable):
                live = await _live(pool)
                async with pool.acquire() as connection:
                    if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _PACKER):
                        try:
                            await _pack(connection, live, now() - after, pace)
                        finally:
                            await connection.execute("SELECT pg_advisory_unlock($1)", _PACKER)
            said = ""
        except (CannotPack, StoreUnavailable) as cause:
            if str(cause) != said:
                log.warning("journal-not-packed", reason=str(cause))
            said = str(cause)


async def _pack(connection: Connection, live: Journal, before: datetime, pace: Pace) -> None:
    loop = asyncio.get_running_loop()
    while (name := await next_cold(connection, live, int(before.timestamp() * 1000))) is not None:
        rest = pace.rest / max(1, sum(each.cold for each in await live_parts(connection, live)))
        done, records = False, 0
        while not done:
            begun = loop.time()
            records, done, held = await step(connection, live, name, lock_ms=pace.lock_ms)
            await asyncio.sleep(pace.held_seconds if held else (loop.time() - begun) * rest)
        log.info("journal-packed", part=name, records=records)


async def _live(pool: Pool) -> Journal:
    (live,) = await live_builds(pool, [JOURNAL])
    return live if isinstance(live, Journal) else JOURNAL
