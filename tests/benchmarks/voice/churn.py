"""Calls that come and go for minutes, hung up by hand: what is left of them in the voice process afterwards."""

import asyncio
import dataclasses
import json
import sys
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.voice.callers import Task
from tests.benchmarks.voice.processes import handles, memory_mb
from tests.benchmarks.voice.product import Product
from tests.benchmarks.voice.terminal import child, tell

_LINES = 20
# The first calls bring in what is imported late, and fill what is kept for ever.
_WARM_SECONDS = 60.0
_SETTLE_SECONDS = 20.0


async def churn(product: Product, folder: Path, seconds: float) -> list[Figure]:
    """Memory and handles of the voice process before and after; calls that are still thought to be under way."""
    task = Task(
        calls=_LINES, seconds=seconds, ramp_seconds=0, webhook=product.webhook, account_sid=product.account_sid,
        auth_token=product.auth_token, number=product.business.number, churn=True,
    )  # fmt: skip
    pid = product.parts["realtime"].pid
    await _calls(dataclasses.replace(task, seconds=_WARM_SECONDS), folder)
    before_mb, before = memory_mb(pid), handles(pid)
    tell(f"after a minute: {before_mb:.1f} MB, {before} handles")
    calls = await _calls(task, folder)
    after_mb, after = memory_mb(pid), handles(pid)
    open_calls = await product.open_calls()
    tell(f"after {calls} more calls: {after_mb:.1f} MB, {after} handles, {open_calls} calls without an end")
    return [
        _figure("memory_kept_per_1000_calls", 1000 * (after_mb - before_mb) / calls, "MB"),
        _figure("handles_kept", after - before, ""),
        _figure("calls_without_an_end", open_calls, ""),
        _figure("calls", calls, "", better="higher"),
    ]


async def _calls(task: Task, folder: Path) -> int:
    async with child(sys.executable, "-m", "tests.benchmarks.voice.callers", errors=folder / "callers.log") as calling:
        calling.write(json.dumps(dataclasses.asdict(task)) + "\n")
        made = int((await calling.told())["calls"])
    await asyncio.sleep(_SETTLE_SECONDS)
    return made


def _figure(name: str, value: float, unit: str, *, better: str = "lower") -> Figure:
    target = 0.0 if better == "lower" else None
    return Figure(figure=name, value=round(value, 2), unit=unit, better=better, target=target, reference=None, reference_value=None)
