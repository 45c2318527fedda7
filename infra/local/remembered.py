"""What the stack knows of its children from one command to the next: `stack.json` in the state folder, behind a lock."""

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir

from infra.local.children import Child
from infra.local.services import StackUnavailable

# A Unix socket's path has 108 bytes with its closing zero; this leaves room for `pg/.s.PGSQL.5432`.
_LONGEST_SOCKETS_FOLDER = 85
_LOCK_SECONDS = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A child that was started; `child` is None once it was stopped on purpose. Its ports are wanted again."""

    ports: tuple[int, ...]
    child: Child | None


class Memory:
    """The remembered children of one state folder. Only a holder of `lock` writes."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "stack.json"
        self._lock = state_dir / "stack.lock"

    def read(self) -> dict[str, Remembered]:
        """Everything remembered; a missing or unreadable file is an empty memory, and what it named is found by its mark."""
        try:
            told = json.loads(self._file.read_text())
            return {name: _remembered(entry) for name, entry in told.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def remember(self, name: str, remembered: Remembered) -> None:
        """Write one entry, whole or not at all."""
        entries = {known: asdict(entry) for known, entry in {**self.read(), name: remembered}.items()}
        fresh = self._file.with_suffix(".new")
        fresh.write_text(json.dumps(entries, indent=2) + "\n")
        fresh.replace(self._file)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Held while children are started or stopped, so that two commands at once do not start them twice."""
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackUnavailable(f"The state folder cannot be written: {error}. Set AYBIZA_STATE_DIR to another") from error
        try:
            async with asyncio.timeout(_LOCK_SECONDS):
                while not _locked(handle):
                    await asyncio.sleep(0.05)
            yield
        except TimeoutError as error:
            raise StackUnavailable(f"Another aybiza command has held {self._lock} for {_LOCK_SECONDS:.0f} s") from error
        finally:
            os.close(handle)


def sockets_folder(state_dir: Path) -> Path:
    """Where this stack's sockets lie: in the state folder, or in a short one of its own when that path is too long."""
    inside = state_dir / "run"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKETS_FOLDER:
        return inside
    digest = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:16]
    short = Path(gettempdir()) / f"aybiza-{os.geteuid()}-{digest}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.is_symlink() or short.stat().st_uid != os.geteuid():
        raise StackUnavailable(f"{short} belongs to another user. Set AYBIZA_STATE_DIR to a folder with a shorter path")
    return short


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remembered(entry: dict[str, object]) -> Remembered:
    ports, child = entry["ports"], entry["child"]
    if not isinstance(ports, list):
        raise TypeError(ports)
    found = Child(pid=int(child["pid"]), started=float(child["started"])) if isinstance(child, dict) else None
    return Remembered(ports=tuple(int(port) for port in ports), child=found)
