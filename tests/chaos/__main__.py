"""The long form: `make chaos [MINUTES=…] [SEED=…]`. Ends with 1 when an answer was wrong; then what was heard is kept."""

import asyncio
import logging
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import structlog
import uvloop
from rich.console import Console
from rich.table import Table

from infra.settings import load_settings
from tests.chaos.cluster import Cluster
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.run import Story, play
from tests.chaos.stage import opened

_WRONG_SHOWN = 20


def plan(draw: Random, seconds: float) -> Iterator[str]:
    """Every kind of fault once, then any, until the time is over."""
    until = time.monotonic() + seconds
    names = list(FAULTS)
    while time.monotonic() < until:
        draw.shuffle(names)
        for name in names:
            if time.monotonic() < until:
                yield name


def show(story: Story) -> bool:
    """Whether all is as it must be."""
    console = Console(stderr=True)
    table = Table(title=f"{len(story.faults)} faults in {story.seconds:.0f} s: seconds until a hit partition took commits again")
    for heading in ("fault", "times", "partitions", "median", "longest", "longest after its end"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for name, seconds in sorted(story.recovery().items()):
        times = sum(fault.name == name for fault in story.faults)
        # A spool's troubles keep no partition from taking commits.
        shown = (seconds[len(seconds) // 2][0], seconds[-1][0], max(each for _, each in seconds)) if seconds else ()
        table.add_row(name, str(times), str(len(seconds)), *(f"{each:.2f}" for each in shown))
    console.print(table)
    checked = story.checked()
    console.print("answers: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(story.answers().items())))
    console.print(f"log: {checked.admitted:,} records count, {checked.dropped:,} were dropped by the fence, {checked.claims:,} claims")
    for sentence in checked.found[:_WRONG_SHOWN]:
        console.print(sentence)
    console.print("0 lost, 0 doubled, 0 skipped" if not checked.found else f"{len(checked.found)} answers or records are wrong")
    return not checked.found


async def main(minutes: float, seed: int) -> bool:
    settings = load_settings()
    folder = Path(mkdtemp(prefix="aybiza-chaos-"))
    sys.stderr.write(
        f"seed {seed}; answers, logs and the brokers' data lie in {folder} while it lasts, and stay there if something is wrong\n"
    )
    draw = Random(seed)
    loop = asyncio.get_running_loop()
    playing = asyncio.current_task()
    if playing is not None:
        # Whoever ends us wants no broker left behind.
        loop.add_signal_handler(signal.SIGTERM, playing.cancel)
    begun = loop.time()

    def told(fault: Fault) -> None:
        slowest = max(fault.recovered[place] for place in fault.places) if fault.places else 0.0
        sys.stderr.write(
            f"{loop.time() - begun:6.1f} s  {fault.name}: {len(fault.places)} partitions, the last one after {slowest:.2f} s\n"
        )

    async with Cluster(folder, settings.cache_dir) as cluster, opened(cluster, folder, draw) as stage:
        story = await play(stage, draw, plan(draw, minutes * 60), told)
    right = show(story)
    if right:
        shutil.rmtree(folder)
    return right


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    minutes, seed, *_ = *sys.argv[1:], "", ""
    sys.exit(not uvloop.run(main(float(minutes or 2), int(seed or secrets.randbelow(1_000_000)))))
