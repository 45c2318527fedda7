"""A disk for spools: full, failing, slow; and after a crash whatever was not synced is there, or in part, or garbage."""

import asyncio
import errno
import sys
from collections.abc import Sequence

from tests.simulator.log import Cluster

_VERSION_ENDS = 6


class Disk:
    """What one machine keeps, by incarnation of the process that wrote it. `full_until`, `failing_until`: its weather."""

    def __init__(self, cluster: Cluster) -> None:
        self.full_until = 0.0
        self.failing_until = 0.0
        self.spools: dict[str, SimulatedSpoolDisk] = {}
        self.cluster = cluster

    def spool(self, incarnation: str) -> "SimulatedSpoolDisk":
        return self.spools.setdefault(incarnation, SimulatedSpoolDisk(self))

    def heal(self) -> None:
        self.full_until = self.failing_until = 0.0

    def left(self) -> int:
        """How many segments there are."""
        return sum(len(spool.files) for spool in self.spools.values())


class SimulatedSpoolDisk:
    """`commands.spool.ports.SpoolDisk`."""

    def __init__(self, disk: Disk) -> None:
        self.files: dict[str, bytearray] = {}
        self._disk = disk
        self._synced: dict[str, int] = {}
        self._deleted: dict[str, bytearray] = {}

    async def segments(self) -> Sequence[str]:
        await self._turn()
        return sorted(self.files)

    async def append(self, name: str, data: bytes) -> None:
        await self._turn()
        disk, draw = self._disk, self._disk.cluster.draw
        if disk.full_until > disk.cluster.scheduler.now:
            disk.cluster.story.met("disk full", f"{sys._getframe(1).f_code.co_qualname} > append")
            self.files.setdefault(name, bytearray()).extend(data[: draw.randint(0, len(data))])
            raise OSError(errno.ENOSPC, "no space is left on the device")
        self.files.setdefault(name, bytearray()).extend(data)

    async def sync(self, name: str) -> None:
        await self._turn()
        disk, draw = self._disk, self._disk.cluster.draw
        if disk.failing_until > disk.cluster.scheduler.now and draw.random() < 0.5:
            disk.cluster.story.met("sync fails", f"{sys._getframe(1).f_code.co_qualname} > sync")
            raise OSError(errno.EIO, "input/output error")
        self._synced[name] = len(self.files[name])

    async def read(self, name: str) -> bytes:
        await self._turn()
        return bytes(self.files[name])

    async def delete(self, name: str) -> None:
        await self._turn()
        gone = self.files.pop(name, None)
        if gone is not None:
            self._deleted = {name: gone[: self._synced.pop(name, 0)]}

    def crash(self) -> None:
        """What was synced is there. Of the rest a part, perhaps not as it was written; what was just deleted may be back."""
        draw = self._disk.cluster.draw
        if draw.random() < 0.3:
            self.files.update((name, data) for name, data in self._deleted.items() if data)
        for name, data in list(self.files.items()):
            synced = self._synced.get(name, len(data) if name in self._deleted else 0)
            kept = len(data) if draw.random() < 0.5 else draw.randint(synced, len(data))
            del data[kept:]
            # What looks like another version's is left to a person, whatever made it so.
            first = max(synced, _VERSION_ENDS)
            if kept > first and draw.random() < 0.7:
                data[draw.randrange(first, kept)] ^= 1 << draw.randrange(8)
            self._synced[name] = kept
            if not kept:
                del self.files[name]
        self._deleted = {}

    async def _turn(self) -> None:
        await asyncio.sleep(self._disk.cluster.delay())


class SimulatedLeftSpools:
    """`commands.spool.ports.LeftSpools` of one process: what earlier ones on its machine left."""

    def __init__(self, disk: Disk, incarnation: str) -> None:
        self._disk = disk
        self._incarnation = incarnation
        self._adopted: set[str] = set()

    async def adopt(self) -> Sequence[tuple[str, SimulatedSpoolDisk]]:
        await asyncio.sleep(self._disk.cluster.delay())
        found = [name for name in self._disk.spools if name != self._incarnation and name not in self._adopted]
        self._adopted |= {*found}
        return [(name, self._disk.spools[name]) for name in found]

    async def dismiss(self, incarnation: str) -> None:
        await asyncio.sleep(self._disk.cluster.delay())
        self._disk.spools.pop(incarnation, None)
