"""Counts of series over time, kept up to their entries while the projections run."""

import asyncio
from datetime import UTC, datetime

import structlog

from infra.adapters.postgres.builds import live_builds
from infra.adapters.postgres.connections import Pool
from infra.adapters.postgres.over_time import expire, refresh
from projections.ports import StoreUnavailable
from projections.registry import SERIES
from projections.series import Series

log = structlog.get_logger()

_EVERY_SECONDS = 5.0


async def keep_counted(pool: Pool) -> None:
    """Until cancelled. Any number of processes may do it; readers see the same before and after, and wait for nobody."""
    away = False
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        try:
            for series in await live_builds(pool, [each for each in SERIES if each.over_time is not None]):
                if isinstance(series, Series):
                    await refresh(pool, series)
                    await expire(pool, series, datetime.now(UTC))
            away = False
        except StoreUnavailable as cause:
            if not away:
                log.warning("series-not-counted", reason=str(cause))
            away = True
