"""`aybiza demo`: two spoken calls, from the ring to the record, with everything that they prove. The worker of one is killed."""

import asyncio
import importlib
from typing import Protocol, cast

from infra.apps.alongside import alongside
from infra.apps.terminal import watched
from infra.local.stack import Addresses, ensure_stack
from infra.settings import Settings, load_settings

_PLAY = "infra.apps.demo_play"


class _Play(Protocol):
    """What that module has for us."""

    async def play(self, settings: Settings, services: Addresses) -> None: ...


async def demo() -> None:
    """Bring up the stack, play two calls in real time, kill the worker of one, show their record, rebuild every table from the log."""
    settings = load_settings()
    with watched() as progress:
        async with alongside({"load the platform": _load}, cancel=False):
            services = await ensure_stack(settings.state_dir, settings, progress)
    await cast(_Play, importlib.import_module(_PLAY)).play(settings, services)


async def _load() -> None:
    """Takes as long as Kafka takes to start."""
    await asyncio.to_thread(importlib.import_module, _PLAY)
