"""Starts a program so that whoever is cancelled meanwhile leaves none behind."""

import asyncio
from asyncio.subprocess import Process
from contextlib import suppress
from typing import Any


async def spawned(*words: str, **options: Any) -> Process:
    """As `asyncio.create_subprocess_exec`. A program that was being started when its caller was cancelled is killed and waited for.

    Raises OSError.
    """
    starting = asyncio.create_task(asyncio.create_subprocess_exec(*words, **options), name=f"start {words[0]}")
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):
            await ended(await starting)
        raise


async def ended(program: Process) -> None:
    """Kill a program unless it has ended, and wait until nothing of it is left in the loop."""
    if program.returncode is None:
        with suppress(ProcessLookupError):
            program.kill()
        await program.wait()
