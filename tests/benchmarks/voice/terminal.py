"""Processes that the bench starts and talks to by lines, and words for the person who watches it."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LONGEST_LINE = 256 << 20
_STOP_SECONDS = 30.0


def tell(words: str) -> None:
    """For people: on standard error."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Child:
    """A process of the bench's."""

    process: asyncio.subprocess.Process
    errors: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    async def line(self) -> str:
        """The next line it says. Raises RuntimeError where it ends instead."""
        assert self.process.stdout is not None
        said = await self.process.stdout.readline()
        if not said:
            raise RuntimeError(f"a process of the bench ended too early: {self.errors.read_text(errors='replace')[-2000:]}")
        return said.decode()

    async def told(self) -> Any:
        """The next line, read as JSON."""
        return json.loads(await self.line())

    def write(self, text: str, *, end: bool = False) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        if end:
            self.process.stdin.close()


@asynccontextmanager
async def child(*command: str, environment: Mapping[str, str] | None = None, errors: Path) -> AsyncIterator[Child]:
    """Started, and told to stop at the end of the block."""
    with errors.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=file, limit=_LONGEST_LINE
        )
    try:
        yield Child(process, errors)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
