"""Which of the platform's processes run on this state folder, and where they listen: a file each, believed while its process lives."""

import json
import os
import platform as machine
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

import psutil

Role: TypeAlias = Literal["all", "commands", "realtime", "projections", "processors", "api", "relay"]
_SLACK_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """A process of ours on this machine; `started` in seconds since the epoch. What it does not listen for is None.

    `api` and `voice` are URLs (the carrier's webhooks below the latter), `peer` is the address in its claims.
    """

    role: Role
    pid: int
    started: float
    api: str | None = None
    voice: str | None = None
    peer: str | None = None


@contextmanager
def remembered(state_dir: Path, role: Role, *, api: str | None = None, voice: str | None = None, peer: str | None = None) -> Iterator[None]:
    """This process can be found for as long as the block lasts."""
    pid = os.getpid()
    here = Whereabouts(role=role, pid=pid, started=psutil.Process(pid).create_time(), api=api, voice=voice, peer=peer)
    file = _folder(state_dir) / f"{role}-{pid}{_suffix()}"
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(here)) + "\n")
    fresh.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def processes(state_dir: Path) -> Sequence[Whereabouts]:
    """Those that live on this machine, by role and age. What a killed one left is cleared away."""
    found = []
    for file in sorted(_folder(state_dir).glob(f"*{_suffix()}")):
        with suppress(OSError):
            told = _read(file)
            if told is not None and _lives(told):
                found.append(told)
            else:
                file.unlink(missing_ok=True)
    return sorted(found, key=lambda each: (each.role, each.started))


def _suffix() -> str:
    # Containers may share the folder, and each counts its processes from 1.
    return f".{machine.node() or 'here'}.json"


def _read(file: Path) -> Whereabouts | None:
    try:
        told = json.loads(file.read_text())
        return Whereabouts(**{field.name: told[field.name] for field in fields(Whereabouts)})
    except (ValueError, KeyError, TypeError):
        return None


def _lives(told: Whereabouts) -> bool:
    try:
        process = psutil.Process(told.pid)
        return abs(process.create_time() - told.started) <= _SLACK_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _folder(state_dir: Path) -> Path:
    return state_dir / "processes"
