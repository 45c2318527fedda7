"""make simulate SEED=… STEPS=… WITHOUT=… EXHAUSTIVE=1: what was run, what it met, and the story of the first seed that went wrong."""

import os
import sys
import time
from collections.abc import Mapping

from tests.simulator.controls import CONTROLS
from tests.simulator.running import STEPS_PER_SEED, first_violation, run_on, shortest, table, told

USAGE = f"make simulate SEED=<first seed> STEPS=<steps in all> [WITHOUT={'|'.join(CONTROLS)}]"


def main(environment: Mapping[str, str]) -> int:
    seed, steps = int(environment.get("SEED") or 1), int(environment.get("STEPS") or 1_000_000)
    without = environment.get("WITHOUT") or ""
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
        f" in {took:.0f} s: {report.commands} attempts, {report.commits} commits, {report.claims} claims; {report.failed} seeds violated"
    )
    if report.violations:
        say(told(shortest(report, each)))
    return 1 if report.violations else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(os.environ))
