"""Spools as files: a folder for each process that had one, a lock in it as long as the process lives, synced before it is believed."""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from commands.spool.ports import SpoolDisk

T = TypeVar("T")

_SUFFIX = ".spool"
_LOCK = "lock"


class SpoolInUse(OSError):
    """A living process has the spool."""


class SpoolFolder:
    """A SpoolDisk: `<folder>/<segment>.spool`. What it does is done in one thread of its own, in order; appending waits for the sync."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder's lock, and keeps it until `close` or the process's end. Raises SpoolInUse."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._files: dict[str, int] = {}
        self._new: set[str] = set()
        self._appended: dict[str, list[bytes]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            os.close(self._lock)
            raise SpoolInUse(cause.errno, f"a living process has the spool {folder}") from cause
        # Its last owner may have forgotten it, folder and all, between our opening and our locking.
        if not (folder / _LOCK).exists():
            os.close(self._lock)
            raise SpoolInUse(0, f"the spool {folder} has just been forgotten")

    async def segments(self) -> Sequence[str]:
        return await self._run(self._segments)

    async def append(self, name: str, data: bytes) -> None:
        self._appended.setdefault(name, []).append(data)

    async def sync(self, name: str) -> None:
        await self._run(partial(self._sync, name, b"".join(self._appended.pop(name, ()))))

    async def read(self, name: str) -> bytes:
        return await self._run(self._path(name).read_bytes)

    async def delete(self, name: str) -> None:
        self._appended.pop(name, None)
        await self._run(partial(self._delete, name))

    def close(self) -> None:
        """Let go of it. An empty one leaves nothing behind."""
        self._thread.shutdown(wait=True)
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        if not self._segments():
            (self._folder / _LOCK).unlink(missing_ok=True)
            # Whoever opens it in this very moment makes another lock.
            with suppress(OSError):
                self._folder.rmdir()
        os.close(self._lock)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _segments(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}"))

    def _write(self, name: str, data: bytes) -> int:
        file = self._files.get(name)
        if file is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            file = self._files[name] = os.open(self._path(name), flags, 0o600)
            self._new.add(name)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        return file

    def _sync(self, name: str, data: bytes) -> None:
        os.fsync(self._write(name, data))
        if name in self._new:
            _sync_folder(self._folder)
            _sync_folder(self._folder.parent)
            self._new.discard(name)

    def _delete(self, name: str) -> None:
        if (file := self._files.pop(name, None)) is not None:
            os.close(file)
        self._new.discard(name)
        self._path(name).unlink(missing_ok=True)


class SpoolFolders:
    """LeftSpools: the folders beside this process's own below `root`, named by incarnation; later ones have later names."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._adopted: dict[str, SpoolFolder] = {}

    def own(self, incarnation: str) -> SpoolFolder:
        """This process's own spool. Raises OSError."""
        return SpoolFolder(self._root / incarnation)

    async def adopt(self) -> Sequence[tuple[str, SpoolDisk]]:
        return await asyncio.to_thread(self._adopt)

    async def dismiss(self, incarnation: str) -> None:
        await asyncio.to_thread(self._adopted.pop(incarnation).close)

    def close(self) -> None:
        """Let others have what was adopted and is not empty."""
        for folder in self._adopted.values():
            folder.close()
        self._adopted.clear()

    def _adopt(self) -> list[tuple[str, SpoolDisk]]:
        found: list[tuple[str, SpoolDisk]] = []
        for path in sorted(self._root.iterdir()) if self._root.is_dir() else ():
            if not path.is_dir() or path.name in self._adopted:
                continue
            try:
                folder = SpoolFolder(path)
            except SpoolInUse:
                continue
            self._adopted[path.name] = folder
            found.append((path.name, folder))
        return found


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
