"""Who uses the processors of this machine during a run: CPU seconds and memory by /proc, of trees of processes and of strangers."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_FIRST = -10


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds so far, of this machine and of some trees of processes by name, children that have ended included."""

    machine: float
    trees: dict[str, float]

    def since(self, before: "Used") -> "Used":
        return Used(self.machine - before.machine, {name: value - before.trees[name] for name, value in self.trees.items()})

    @property
    def strangers(self) -> float:
        return max(0.0, self.machine - sum(self.trees.values()))


def used(trees: Mapping[str, Iterable[int]]) -> Used:
    """Read it now. A process that has ended counts with its parent, if that has waited for it."""
    busy = psutil.cpu_times()
    machine = busy.user + busy.nice + busy.system + busy.irq + busy.softirq
    return Used(machine, {name: sum(_cpu(pid) for pid in pids) for name, pids in trees.items()})


def _cpu(pid: int) -> float:
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for member in members:
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def first_in_line() -> None:
    """The instruments go before what they measure, where that may be said: a clock that has to wait measures its own waiting."""
    with suppress(PermissionError):
        os.nice(_FIRST)


def memory_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    process = psutil.Process(pid)
    return sum(float(member.memory_info().rss) for member in [process, *process.children(recursive=True)]) / 1e6


def own_memory_mb(pid: int) -> float:
    """Resident memory of a process without its children."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def handles(pid: int) -> int:
    """Open files and sockets."""
    return int(psutil.Process(pid).num_fds())


def sockets(pid: int) -> int:
    """Open sockets of all kinds."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += link.readlink().name.startswith("socket:")
    return found


def of_stack(state_dir: Path) -> list[int]:
    """The stack's own processes: those whose command line names its folder."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(state_dir) in part for part in process.info["cmdline"] or ()) and process.pid != psutil.Process().pid
    ]
