"""Pieces of recordings as files: a folder for each call, a file for each piece, on disk when it is said to be kept."""

import asyncio
import os
import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9_-]{1,100}\Z")
_SUFFIX = ".recording"


class AnotherContent(OSError):
    """Something else lies under the name already."""


class RecordingFolder:
    """A RecordingStore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, name: str, content: bytes) -> None:
        await asyncio.to_thread(self._write, name, content)

    async def get(self, name: str) -> bytes | None:
        return await asyncio.to_thread(self._read, name)

    async def remove(self, name: str) -> None:
        await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot be the name of a recording")
        return self._folder / f"{name}{_SUFFIX}"

    def _write(self, name: str, content: bytes) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(content)
            os.fsync(descriptor)
        try:
            os.link(draft, path)
        except FileExistsError:
            if path.read_bytes() != content:
                raise AnotherContent(f"{name} holds something else") from None
        finally:
            draft.unlink()

    def _read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None
