"""Calls that come and go for minutes, hung up by hand: what is left of them in the voice process afterwards."""

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.voice.callers import Task
from tests.benchmarks.voice.processes import handles, memory_mb
from tests.benchmarks.voice.product import Product
from tests.benchmarks.voice.terminal import child, tell

_LINES = 20
# The first calls bring in what is imported late, and fill what is kept up to a bound.
_WARM_SECONDS = 60.0
_SETTLE_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """What the voice process has when no call is under way; `calls` have been by then."""

    calls: int
    memory_mb: float
    handles: int


async def churn(product: Product, folder: Path, seconds: float) -> list[Figure]:
    """Memory and handles of the voice process before, half-way and after; calls that are still thought to be under way."""
    task = Task(
        calls=int(os.environ.get("LINES", _LINES)), seconds=seconds / 2, ramp_seconds=0, webhook=product.webhook,
        account_sid=product.account_sid, auth_token=product.auth_token, number=product.business.number, churn=True,
    )  # fmt: skip
    pid, calls = product.parts["realtime"].pid, 0
    found = []
    for part in (dataclasses.replace(task, seconds=_WARM_SECONDS), task, task):
        calls += await _calls(part, folder)
        found.append(_Left(calls=calls, memory_mb=memory_mb(pid), handles=handles(pid)))
        tell(f"after {calls} calls: {found[-1].memory_mb:.1f} MB, {found[-1].handles} handles")
    warm, half, after = found
    open_calls = await product.open_calls()
    tell(f"{open_calls} calls without an end")
    return [
        _figure("memory_kept_per_1000_calls_in_the_first_half", _kept(warm, half), "MB"),
        _figure("memory_kept_per_1000_calls_in_the_second_half", _kept(half, after), "MB"),
        _figure("handles_kept", after.handles - warm.handles, ""),
        _figure("calls_without_an_end", open_calls, ""),
        _figure("calls", calls, "", better="higher"),
    ]


def _kept(before: _Left, after: _Left) -> float:
    return 1000 * (after.memory_mb - before.memory_mb) / max(1, after.calls - before.calls)


async def _calls(task: Task, folder: Path) -> int:
    async with child(sys.executable, "-m", "tests.benchmarks.voice.callers", errors=folder / "callers.log") as calling:
        calling.write(json.dumps(dataclasses.asdict(task)) + "\n")
        ended = await calling.told()
    if ended["refused"]:
        tell(f"{ended['refused']} rings were refused")
    await asyncio.sleep(_SETTLE_SECONDS)
    return int(ended["calls"])


def _figure(name: str, value: float, unit: str, *, better: str = "lower") -> Figure:
    target = 0.0 if better == "lower" else None
    return Figure(figure=name, value=round(value, 2), unit=unit, better=better, target=target, reference=None, reference_value=None)
