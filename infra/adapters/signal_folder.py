"""Kept signals as files: a folder for each call, a file for each stretch, readable only with the caller's own key."""

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9_-]{1,100}\Z")
_FOLDER = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_SUFFIX = ".signals"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class SignalFolder:
    """A SignalStore. It survives the end of this process; what a power cut of the machine takes is lost, a few seconds of each call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(self._write, name, content)

    async def get(self, name: str) -> bytes | None:
        return await asyncio.to_thread(self._read, name)

    async def names(self, folder: str) -> Sequence[str]:
        return await asyncio.to_thread(self._names, folder)

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot be the name of a stretch of signals")
        return self._folder / f"{name}{_SUFFIX}"

    def _write(self, name: str, content: bytes) -> None:
        path = str(self._path(name))
        draft = f"{path}.{os.getpid()}.draft"
        try:
            descriptor = os.open(draft, _NEW, 0o600)
        except FileNotFoundError:
            Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(draft, _NEW, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(content)
        # A reader finds it whole or not at all. As plain calls of the system: this runs a dozen times a call-minute.
        os.replace(draft, path)  # noqa: PTH105

    def _read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def _names(self, folder: str) -> Sequence[str]:
        if not _FOLDER.match(folder):
            raise ValueError(f"{folder!r} cannot be the name of a call")
        return sorted(f"{folder}/{path.name.removesuffix(_SUFFIX)}" for path in (self._folder / folder).glob(f"*{_SUFFIX}"))
