"""make simulate SEED=… STEPS=… WITHOUT=… EXHAUSTIVE=1: what was run, what it met, and the story of the first seed that went wrong."""

import os
import sys
import time
from collections.abc import Mapping
from multiprocessing import get_context

from tests.simulator.controls import CONTROLS
from tests.simulator.exhaustive import SCRIPTS, Exploration, Found, Within
from tests.simulator.running import STEPS_PER_SEED, first_violation, run_on, shortest, table, told

USAGE = f"make simulate SEED=<first seed> STEPS=<steps in all> [WITHOUT={'|'.join(CONTROLS)}]"


def main(environment: Mapping[str, str]) -> int:
    seed, steps = int(environment.get("SEED") or 1), int(environment.get("STEPS") or 1_000_000)
    without = environment.get("WITHOUT") or ""
    if environment.get("EXHAUSTIVE"):
        return explore_all()
    if without and without not in CONTROLS:
        say(f"There is nothing called {without} to leave out. {USAGE}")
        return 2
    seeds = range(seed, seed + max(1, -(-steps // STEPS_PER_SEED)))
    each = min(steps, STEPS_PER_SEED)
    if without:
        missed = first_violation(seeds, each, without)
        say(f"Without {without} nothing was found in {len(seeds)} seeds." if missed is None else f"Without {without}:\n{told(missed)}")
        return 0 if missed is None else 1
    began = time.monotonic()
    report = run_on(min(2, os.cpu_count() or 1), seeds, each)
    took = time.monotonic() - began
    say(table(report.covered))
    say(
        f"{len(seeds)} seeds from {seed}, {report.steps} steps, {report.turns} turns of loops, {report.seconds / 3600:.1f} h of their time"
        f" in {took:.0f} s: {report.commands} attempts and facts, {report.commits} commits, {report.claims} claims,"
        f" at most {report.longest:.1f} s to the last answer after the faults; {report.failed} seeds violated"
    )
    if report.violations:
        say(told(shortest(report, each)))
    return 1 if report.violations else 0


def explore_all() -> int:
    """Every interleaving within the widest bounds that are of use: some minutes, and two gigabytes."""
    began = time.monotonic()
    with get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        results = pool.map(explored, range(len(SCRIPTS)), chunksize=1)
    for script, (states, wrong) in enumerate(results):
        say(f"script {script}: {states} states{', and in one of them:' if wrong else ', none of them wrong'}\n{wrong}".rstrip())
    say(f"{sum(states for states, _ in results)} states in {time.monotonic() - began:.0f} s")
    return 1 if any(wrong for _, wrong in results) else 0


def explored(script: int) -> tuple[int, str]:
    exploration = Exploration(SCRIPTS[script], Within())
    try:
        exploration.run()
    except Found as found:
        return exploration.states, str(found)
    return exploration.states, ""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(os.environ))
