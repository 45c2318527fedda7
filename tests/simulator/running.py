"""Many seeds, on as many cores as there are, and what they showed together."""

import gc
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

import structlog

from tests.simulator.controls import CONTROLS
from tests.simulator.journal import short_memory
from tests.simulator.play import Report, play
from tests.simulator.stage import WHOLE

STEPS_PER_SEED = 100


@contextmanager
def silence() -> Iterator[None]:
    """What the product would log of its thousand deaths; and streams that remember few commands."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    collecting = gc.isenabled()
    gc.disable()
    try:
        with short_memory():
            yield
    finally:
        structlog.configure(**before)
        if collecting:
            gc.enable()


def run(seeds: Sequence[int], steps: int = STEPS_PER_SEED, without: str = "") -> Report:
    """All these seeds; the violations and lines are those of the first that has any."""
    total = Report(seeds[0])
    with silence():
        for number, seed in enumerate(seeds):
            one = play(seed, steps, CONTROLS[without] if without else WHOLE)
            total = _added(total, one)
            if number % 20 == 19:
                gc.collect()
    return total


def run_on(cores: int, seeds: Sequence[int], steps: int) -> Report:
    """The same, in so many processes."""
    if cores == 1:
        return run(seeds, steps)
    slices = [seeds[at : at + 100] for at in range(0, len(seeds), 100)]
    total = Report(seeds[0])
    with get_context("spawn").Pool(cores) as pool:
        for part in pool.starmap(run, [(each, steps) for each in slices], chunksize=1):
            total = _added(total, part)
    return total


def first_violation(seeds: Sequence[int], steps: int, without: str) -> Report | None:
    """The first of these seeds that shows one, told as shortly as it can be."""
    with silence():
        for seed in seeds:
            report = play(seed, steps, CONTROLS[without] if without else WHOLE)
            if report.violations:
                return shortest(report, steps, without)
            gc.collect()
    return None


def shortest(report: Report, steps: int, without: str = "") -> Report:
    """The same seed with fewer steps, if it still shows a violation."""
    low, best = 1, report
    while low < steps:
        middle = (low + steps) // 2
        with silence():
            tried = play(report.seed, middle, CONTROLS[without] if without else WHOLE)
        if tried.violations:
            steps, best = middle, tried
        else:
            low = middle + 1
    return best


def told(report: Report) -> str:
    """What went wrong with a seed, and the lines that speak of it."""
    text = " ".join(report.violations)
    words = [*re.findall(r"\bc\d+\b", text)[:2], *re.findall(r"aybiza\.flags\.v1/\d+/\d+", text)[:2]]
    offsets = {f"/{at}:" for at in re.findall(r"\bat (\d+)\b", text)[:2]}
    about = [
        at
        for at, line in enumerate(report.lines)
        if any(re.search(rf"{re.escape(word)}\b", line) for word in words) or any(offset in line for offset in offsets)
    ]
    # What landed meanwhile, and what befell the world before.
    span = range(about[0], about[-1] + 1) if about else range(len(report.lines))
    lines = [
        line
        for at, line in enumerate(report.lines)
        if at in about or (at in span and " lands at " in line) or (at < span.stop and " world " in line)
    ]
    if len(lines) > 60:
        lines = [*lines[:20], f"... {len(lines) - 60} lines more ...", *lines[-40:]]
    return "\n".join([f"seed {report.seed}, {report.steps} steps:", *report.violations[:5], *lines])


def table(covered: Counter[tuple[str, str]]) -> str:
    """How often each fault met the product at each await."""
    faults = sorted({fault for fault, _ in covered})
    return "\n".join(
        f"{fault}\n" + "\n".join(f"    {count:>8}  {site}" for (which, site), count in sorted(covered.items()) if which == fault)
        for fault in faults
    )


def _added(total: Report, part: Report) -> Report:
    covered = total.covered
    covered.update(part.covered)
    bad = total if total.violations or not part.violations else part
    return replace(
        total,
        seed=bad.seed,
        steps=total.steps + part.steps,
        commands=total.commands + part.commands,
        commits=total.commits + part.commits,
        claims=total.claims + part.claims,
        turns=total.turns + part.turns,
        seconds=total.seconds + part.seconds,
        longest=max(total.longest, part.longest),
        failed=total.failed + (part.failed or bool(part.violations)),
        violations=bad.violations,
        lines=bad.lines,
        covered=covered,
    )
