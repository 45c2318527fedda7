"""Spoken calls with everything on: CPU and memory of the voice process, latencies beyond the providers', and whether all was heard.

The product runs as its own processes on a stack of its own; providers (over TLS, at fixed delays) and callers are a process each.

    make bench NAME=call                           # 1, 20, 100 and 200 calls
    CALLS=1,20 SECONDS=60 RIVAL=1,10 make bench NAME=call
    CHURN=30 make bench NAME=call                  # half an hour of calls that come and go; LINES=6 at once, none LONGEST=40 seconds
"""

import asyncio
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from infra.settings import Settings, load_settings
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.voice.authority import make_authority
from tests.benchmarks.voice.callers import Task
from tests.benchmarks.voice.churn import WATCHED, churn
from tests.benchmarks.voice.processes import memory_mb, of_stack, used
from tests.benchmarks.voice.product import running_product
from tests.benchmarks.voice.providers import KEY
from tests.benchmarks.voice.scores import REFUSED, Run, doubts, figures
from tests.benchmarks.voice.terminal import Child, child, tell

_RAMP_SECONDS = 12.0


@asynccontextmanager
async def providers(folder: Path) -> AsyncIterator[tuple[Child, dict[str, Any]]]:
    """The emulated providers, and where they are."""
    async with child(sys.executable, "-m", "tests.benchmarks.voice.providers", str(folder), errors=folder / "providers.log") as there:
        yield there, await there.told()


async def measured(
    task: Task, provided: Child, product: Mapping[str, int], folder: Path, idle_mb: float, *, stack: Iterable[int] = ()
) -> Run:
    """One run. `product`: its processes by name, the first of them the voice process. The providers end with it and say what they saw."""
    voice = next(iter(product.values()))
    async with child(sys.executable, "-m", "tests.benchmarks.voice.callers", errors=folder / "callers.log") as calling:
        trees = {**{name: [pid] for name, pid in product.items()}, "bench": [os.getpid()], "stack": list(stack)}
        calling.write(json.dumps(dataclasses.asdict(task)) + "\n")
        await calling.told()
        before, began = used(trees), time.monotonic()
        ended = await calling.told()
        spent, seconds = used(trees).since(before), time.monotonic() - began
        memory = memory_mb(voice)
        record = await calling.told()
    provided.write("", end=True)
    noted = await provided.told()
    # The product's processes are children of the bench's: they are counted once.
    bench = spent.trees["bench"] - sum(spent.trees[name] for name in product)
    strangers = spent.machine - bench - spent.trees["stack"] - sum(spent.trees[name] for name in product)
    return Run(
        calls=task.calls, seconds=seconds, callers=record["callers"], late_p99=record["late_p99"], provided=noted,
        cpu={name: spent.trees[name] for name in product}, strangers=max(0.0, strangers / seconds), idle_mb=idle_mb, memory_mb=memory,
        open_at_end=ended["open"], stack_cpu=spent.trees["stack"],
    )  # fmt: skip


def seconds_of_ramp(calls: int) -> float:
    return min(_RAMP_SECONDS, calls * 0.25)


async def ours(settings: Settings, calls: int, seconds: float) -> Run:
    """The product with so many calls at once."""
    with tempfile.TemporaryDirectory(prefix="bench-call-") as name:
        folder = Path(name)
        trust = make_authority(folder)
        async with providers(folder) as (provided, where), running_product(settings, folder, where, trust) as product:
            task = Task(
                calls=calls, seconds=seconds, ramp_seconds=seconds_of_ramp(calls), webhook=product.webhook,
                account_sid=product.account_sid, auth_token=product.auth_token, number=product.business.number,
            )  # fmt: skip
            pids = {"realtime": product.parts["realtime"].pid} | {part: each.pid for part, each in product.parts.items()}
            idle_mb = memory_mb(pids["realtime"])
            run = await measured(task, provided, pids, folder, idle_mb, stack=of_stack(product.state_dir))
            run.timelines = await product.turns([caller["call_sid"] for caller in run.callers if caller["ended"] != REFUSED])
            _keep(folder, f"ours-{calls}", run)
            return run


async def rivals(settings: Settings, calls: int, seconds: float) -> Run:
    """The rival with so many calls at once, with the same callers and providers."""
    with tempfile.TemporaryDirectory(prefix="bench-rival-") as name:
        folder = Path(name)
        environment = {
            **os.environ, **make_authority(folder), "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "PYTHONPATH": "",
        }  # fmt: skip
        command = (str(rivals_python(settings)), "-P", str(Path(__file__).parent / "voice" / "rival.py"))
        async with (
            providers(folder) as (provided, where),
            child(*command, where["deepgram"], KEY, where["bedrock"], environment=environment, errors=folder / "rival.log") as there,
        ):
            listening = await there.told()
            await asyncio.sleep(5)
            task = Task(calls=calls, seconds=seconds, ramp_seconds=seconds_of_ramp(calls), socket=listening["socket"])
            run = await measured(task, provided, {"rival": there.pid}, folder, memory_mb(there.pid))
            _keep(folder, f"rival-{calls}", run)
            return run


def rivals_python(settings: Settings) -> Path:
    return settings.cache_dir / "pipecat" / "bin" / "python"


async def churned(settings: Settings, seconds: float) -> list[Figure]:
    """The product with calls that come and go."""
    with tempfile.TemporaryDirectory(prefix="bench-churn-") as name:
        folder = Path(name)
        trust = make_authority(folder)
        async with providers(folder) as (_, where), running_product(settings, folder, where, trust, voice_by=WATCHED) as product:
            return await churn(product, folder, seconds)


def _keep(folder: Path, name: str, run: Run) -> None:
    """With KEEP=folder all that a run noted is kept there, and what its processes said."""
    if kept := os.environ.get("KEEP"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        (Path(kept) / f"{name}.json").write_text(json.dumps(dataclasses.asdict(run)))
        for log in folder.glob("*.log"):
            (Path(kept) / f"{name}-{log.name}").write_bytes(log.read_bytes())


def report(who: str, run: Run) -> None:
    """A table for people, figures for programs, and what speaks against them."""
    show("call", f"{who}, {run.calls} at once", figures(run), calls=run.calls)
    found = doubts(run)
    for doubt in found:
        tell(f"this run proves nothing: {doubt}")
    if not found:
        tell("this run counts: all was heard, answered, cleared and put on the log")


def numbers(name: str, otherwise: str) -> list[int]:
    return [int(each) for each in os.environ.get(name, otherwise).split(",") if each]


def main() -> None:
    """A table for people on standard error, a line of JSON for each figure on standard output."""
    settings, seconds = load_settings(), float(os.environ.get("SECONDS", "60"))
    if minutes := float(os.environ.get("CHURN", "0")):
        show("call", f"calls that come and go for {minutes:g} minutes", uvloop.run(churned(settings, 60 * minutes)))
        return
    for calls in numbers("CALLS", "1,20,100,200"):
        report("aybiza", uvloop.run(ours(settings, calls, seconds)))
    if not rivals_python(settings).exists():
        tell("the rival's environment is not built; type: make rival")
        return
    for calls in numbers("RIVAL", "1,10"):
        report("pipecat", uvloop.run(rivals(settings, calls, seconds)))


if __name__ == "__main__":
    main()
