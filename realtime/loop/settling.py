"""The last thing that a worker does: what its calls had to say is on the log, or on the disk."""

import asyncio

import structlog

from commands.spool.spool import Spool

log = structlog.get_logger()


async def settled(spool: Spool, within_seconds: float) -> None:
    """Wait until the spool has written what it was given; what is lost otherwise is said."""
    try:
        async with asyncio.timeout(within_seconds):
            await spool.settled()
    except TimeoutError:
        log.exception("facts of calls were lost: neither the log nor the spool takes them")
