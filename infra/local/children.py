"""Child processes that outlive us: started apart, found again by pid, start time and command line, and ended for certain."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_SECONDS = 0.02
# The start is told by the wall clock, which is set anew after a machine stood still.
_START_TIME_SLACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process by the two numbers that no other process has had together; `started` is in seconds since the epoch."""

    pid: int
    started: float


class StillRunning(Exception):
    """A process did not end, even by a kill."""


def spawn(argv: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> Child:
    """Start a program in a session of its own, so that our end or a Ctrl-C does not reach it. It appends to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawnp(
        argv[0],
        list(argv),
        dict(environment or os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), appending, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        # Python ignores these, and what is ignored stays so in a new program.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )
    return Child(pid=pid, started=psutil.Process(pid).create_time())


def is_alive(child: Child, *, mark: str) -> bool:
    """Whether this very process still runs. `mark` is a part of its command line that no other program's has."""
    with contextlib.suppress(ChildProcessError):
        # Only our own children can be waited for; one that has died must not stay a zombie.
        os.waitpid(child.pid, os.WNOHANG)
    try:
        process = psutil.Process(child.pid)
        same = abs(process.create_time() - child.started) <= _START_TIME_SLACK_SECONDS
        # Read once: while one program becomes the next (setpriv, then what it starts) there is no command line for an instant.
        words = process.cmdline()
        return same and process.status() != psutil.STATUS_ZOMBIE and (not words or any(mark in word for word in words))
    except psutil.NoSuchProcess:
        # ZombieProcess is one of these.
        return False


def marked(mark: str) -> list[Child]:
    """Every process whose command line carries the mark, whoever started it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and _is_marked(process, mark):
                found.append(Child(pid=process.pid, started=process.create_time()))
    return found


async def end(child: Child, *, mark: str, grace_seconds: float, by: signal.Signals = signal.SIGTERM) -> None:
    """Ask a child to end, wait, then kill it. Returns when it is gone; one that is gone already is no error."""
    for wanted, seconds in ((by, grace_seconds), (signal.SIGKILL, 10.0)):
        if not is_alive(child, mark=mark):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, wanted)
        # A stopped process hears nothing but a kill until it is continued.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGCONT)
        # Counted in looks, not by a clock: while the whole machine stands still the child has no time to end in.
        for _ in range(round(seconds / _POLL_SECONDS)):
            if not is_alive(child, mark=mark):
                return
            await asyncio.sleep(_POLL_SECONDS)
    if is_alive(child, mark=mark):
        raise StillRunning(f"process {child.pid} did not end, even by a kill")


def memory_bytes(child: Child) -> int:
    """What a child and its own children take: the proportional share where we may read it, else what is resident."""
    try:
        top = psutil.Process(child.pid)
        family = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_memory(process) for process in family)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        with contextlib.suppress(psutil.Error):
            return int(process.memory_info().rss)
        return 0


def _is_marked(process: psutil.Process, mark: str) -> bool:
    return any(mark in word for word in process.cmdline())
