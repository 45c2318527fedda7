"""The spool of a process that has calls: its own is written, and what dead processes of this machine left is brought home beside it."""

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from commands.dispatch import Dispatch
from commands.rooms import DECIDERS
from commands.spool.drain import Drain
from commands.spool.spool import Spool, SpoolLimits
from commands.wire import CommandWire
from infra.adapters.spool_folder import SpoolFolders
from infra.apps.alongside import alongside
from infra.settings import Settings


@asynccontextmanager
async def running_spool(settings: Settings, dispatch: Dispatch) -> AsyncIterator[Spool]:
    """Within, what is kept is on disk soon. Raises OSError where the folder cannot be written."""
    folders = SpoolFolders(settings.spools)
    # Names in the order in which processes began.
    incarnation = f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(4)}"
    own = folders.own(incarnation)
    counters: Counter[str] = Counter()
    wire = CommandWire(DECIDERS)
    spool = Spool(own, wire, incarnation, counters, limits=SpoolLimits(total_bytes=settings.spool_bytes))
    drain = Drain(dispatch, DECIDERS, wire, counters)
    try:
        async with alongside({"write the spool": spool.run, "bring home left spools": lambda: drain.run(folders)}):
            yield spool
    finally:
        own.close()
        folders.close()
