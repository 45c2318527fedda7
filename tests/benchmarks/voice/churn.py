"""Calls that come and go for minutes, hung up by hand: what is left of them in the voice process, and what each of them adds.

Memory needs no quiet machine. Each minute's sample is said as it is taken, so that a run that is cut off has said something.
"""

import asyncio
import dataclasses
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.figures import Figure
from tests.benchmarks.voice.callers import Task
from tests.benchmarks.voice.processes import handles, memory_mb, own_memory_mb, sockets
from tests.benchmarks.voice.product import Product
from tests.benchmarks.voice.terminal import child, tell

WATCHED: Final = "tests.benchmarks.voice.watched"
"""By which the voice process is started, so that it says what it holds."""
_LINES = 6
_LONGEST_SECONDS = 40.0
_EVERY_SECONDS = 60.0
# The first calls bring in what is imported late, and fill what is kept up to a bound.
_WARM_SECONDS = 60.0
# Connections to providers are kept for a while after the last call that used them.
_SETTLE_SECONDS = 70.0
_ANSWERS_WITHIN_SECONDS = 30.0
_FLAT_KB = 5.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the voice process has. `calls` have been, `live` of them are under way, `in_memory` can still be reached.

    `children_mb`: the embedded recogniser is a process of its own, and begins where the machine is too busy for the providers' wires.
    """

    seconds: float
    calls: int
    live: int
    in_memory: int
    memory_mb: float
    children_mb: float
    handles: int
    sockets: int
    tasks: int
    objects: int
    blocks: int
    collected: int


class Watch:
    """Takes samples of the voice process, and says each at once."""

    def __init__(self, product: Product) -> None:
        self._voice, self._began = product.parts["realtime"], time.monotonic()
        self.samples: list[Sample] = []

    async def look(self, *, collect: bool = False) -> Sample:
        """`collect`: after what waits for the collector is gone."""
        pid = self._voice.pid
        os.kill(pid, signal.SIGUSR2 if collect else signal.SIGUSR1)
        async with asyncio.timeout(_ANSWERS_WITHIN_SECONDS):
            held = await self._voice.told()
        seconds, memory = round(time.monotonic() - self._began, 1), own_memory_mb(pid)
        taken = Sample(
            seconds=seconds, memory_mb=round(memory, 2), children_mb=round(memory_mb(pid) - memory, 2), handles=handles(pid),
            sockets=sockets(pid), **held,
        )  # fmt: skip
        self.samples.append(taken)
        so_far = {} if len(self.samples) < 4 else {"kb_per_call_so_far": kb_per_call(second_half(self.samples))}
        sys.stdout.write(json.dumps({"bench": "call", "sample": dataclasses.asdict(taken)} | so_far) + "\n")
        sys.stdout.flush()
        return taken


def second_half(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those since half of the calls had been."""
    half = (samples[0].calls + samples[-1].calls) / 2
    return [each for each in samples if each.calls >= half]


def kb_per_call(samples: Sequence[Sample]) -> float:
    """How much the process grows by with each call that has been: the slope of the line through the samples."""
    if len({each.calls for each in samples}) < 2:
        return 0.0
    slope, _ = statistics.linear_regression([each.calls for each in samples], [each.memory_mb for each in samples])
    return round(1000 * slope, 2)


async def churn(product: Product, folder: Path, seconds: float) -> list[Figure]:
    """Before, each minute, and after: memory, handles, sockets, tasks and objects of the voice process."""
    task = Task(
        calls=int(os.environ.get("LINES", _LINES)), seconds=seconds, ramp_seconds=0, webhook=product.webhook,
        account_sid=product.account_sid, auth_token=product.auth_token, number=product.business.number,
        churn=float(os.environ.get("LONGEST", _LONGEST_SECONDS)),
    )  # fmt: skip
    watch = Watch(product)
    async with _calls(dataclasses.replace(task, seconds=_WARM_SECONDS), folder) as warming:
        await warming
    await asyncio.sleep(_SETTLE_SECONDS)
    warm = await watch.look(collect=True)
    watch.samples.clear()
    async with _calls(task, folder) as calling:
        while not (await asyncio.wait([calling], timeout=_EVERY_SECONDS))[0]:
            await watch.look()
    busy = list(watch.samples)
    await asyncio.sleep(_SETTLE_SECONDS)
    idle, after = await watch.look(), await watch.look(collect=True)
    open_calls = await product.open_calls()
    return [
        _figure("memory_kept_per_call_in_the_second_half", kb_per_call(second_half(busy)), "kB", target=_FLAT_KB),
        _figure("memory_per_call_in_the_first_half", kb_per_call([each for each in busy if each not in second_half(busy)]), "kB"),
        _figure("memory_more_than_after_the_first_minute", round(after.memory_mb - warm.memory_mb, 1), "MB"),
        _figure("calls_still_in_memory", idle.in_memory, "", target=0.0),
        _figure("tasks_kept", after.tasks - warm.tasks, "", target=0.0),
        _figure("sockets_kept", after.sockets - warm.sockets, "", target=0.0),
        _figure("handles_kept", after.handles - warm.handles, "", target=0.0),
        _figure("objects_kept_per_call", round((after.objects - warm.objects) / max(1, after.calls - warm.calls), 2), ""),
        _figure("objects_that_waited_for_the_collector", after.collected, ""),
        _figure("calls_without_an_end", open_calls, "", target=0.0),
        _figure("calls", after.calls, "", better="higher"),
    ]


@asynccontextmanager
async def _calls(task: Task, folder: Path) -> AsyncIterator[asyncio.Task[None]]:
    """Callers at work; the value is done when they are."""
    async with (
        child(sys.executable, "-m", "tests.benchmarks.voice.callers", errors=folder / "callers.log") as calling,
        asyncio.TaskGroup() as tasks,
    ):

        async def ended() -> None:
            if (told := await calling.told())["refused"]:
                tell(f"{told['refused']} rings were refused")

        calling.write(json.dumps(dataclasses.asdict(task)) + "\n")
        yield tasks.create_task(ended(), name="callers")


def _figure(name: str, value: float, unit: str, *, better: str = "lower", target: float | None = None) -> Figure:
    return Figure(figure=name, value=value, unit=unit, better=better, target=target, reference=None, reference_value=None)
