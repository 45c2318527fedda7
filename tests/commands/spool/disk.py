"""A disk in memory that fails and crashes when it is told to; held to the same contract as the real one."""

import asyncio
import errno
from collections.abc import Sequence


class MemoryDisk:
    """`SpoolDisk`. `full`: no more bytes are taken; `broken_syncs`: so many syncs fail; `syncing`: clear it, and they wait."""

    def __init__(self) -> None:
        self.files: dict[str, bytearray] = {}
        self.synced: dict[str, int] = {}
        self.syncs = 0
        self.full = False
        self.broken_syncs = 0
        self.syncing = asyncio.Event()
        self.syncing.set()

    async def segments(self) -> Sequence[str]:
        await asyncio.sleep(0)
        return sorted(self.files)

    async def append(self, name: str, data: bytes) -> None:
        await asyncio.sleep(0)
        if self.full:
            self.files.setdefault(name, bytearray()).extend(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "no space is left on the device")
        self.files.setdefault(name, bytearray()).extend(data)

    async def sync(self, name: str) -> None:
        await self.syncing.wait()
        await asyncio.sleep(0)
        self.syncs += 1
        if self.broken_syncs:
            self.broken_syncs -= 1
            raise OSError(errno.EIO, "input/output error")
        self.synced[name] = len(self.files[name])

    async def read(self, name: str) -> bytes:
        await asyncio.sleep(0)
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, "there is no such segment")
        return bytes(self.files[name])

    async def delete(self, name: str) -> None:
        await asyncio.sleep(0)
        self.files.pop(name, None)
        self.synced.pop(name, None)

    def crashed(self, share: float = 0.0) -> "MemoryDisk":
        """The disk as the next process finds it: what was synced, and a share of the bytes after that."""
        after = MemoryDisk()
        for name, file in self.files.items():
            synced = self.synced.get(name, 0)
            kept = synced + int((len(file) - synced) * share)
            if kept:
                after.files[name] = file[:kept]
                after.synced[name] = kept
        return after


class LeftDisks:
    """`LeftSpools` over disks in memory, by incarnation."""

    def __init__(self, **disks: MemoryDisk) -> None:
        self.left = dict(sorted(disks.items()))
        self.dismissed: list[str] = []

    async def adopt(self) -> Sequence[tuple[str, MemoryDisk]]:
        await asyncio.sleep(0)
        found, self.left = list(self.left.items()), {}
        return found

    async def dismiss(self, incarnation: str) -> None:
        await asyncio.sleep(0)
        self.dismissed.append(incarnation)
