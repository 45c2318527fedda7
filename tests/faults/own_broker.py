"""A Kafka broker that one test may kill and freeze."""

import asyncio
import os
import signal
from pathlib import Path

from infra.local.children import Child, end, spawn
from infra.local.kafka import KafkaService
from infra.local.ports import free_ports, is_free
from infra.local.services import Unreachable
from infra.settings import Settings

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.02


def _unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


class OwnBroker:
    """Starts on the same ports and data each time."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._service = KafkaService(folder, settings.cache_dir)
        self._ports = free_ports(self._service.ports_wanted)
        self._child: Child | None = None
        self.address = self._service.address(self._ports)

    async def start(self) -> None:
        await self._service.prepare(self._ports, _unheard)
        async with asyncio.timeout(_READY_SECONDS):
            while not all(map(is_free, self._ports)):
                await asyncio.sleep(_POLL_SECONDS)
            self._child = spawn(self._service.command(self._ports), log=self._service.log)
            while True:
                try:
                    await self._service.probe(self.address)
                except Unreachable:
                    await asyncio.sleep(_POLL_SECONDS)
                else:
                    return

    async def kill(self) -> None:
        """As a power cut would end it."""
        if self._child is not None:
            await end(self._child, mark=self._service.mark, grace_seconds=5.0, by=signal.SIGKILL)
            self._child = None

    def freeze(self) -> None:
        """Its sockets stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            os.kill(self._child.pid, number)
