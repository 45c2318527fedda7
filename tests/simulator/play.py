"""One run: some processes that each believe in themselves, clients, and whatever may go wrong, all drawn from one seed."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from commands.spool.format import sha
from tests.simulator.checker import violations, wanted_by
from tests.simulator.loop import bury
from tests.simulator.stage import WHOLE, Stage, Without
from tests.simulator.truth import truth_of
from tests.simulator.workers import WorkerStage, witnessed

SETTLE_SECONDS = 30.0
"""Once the faults end, everything is answered within this time."""
MOST_TURNS = 2_000_000


@dataclass(slots=True)
class Report:
    """What one seed showed. `longest` is how long the last command was waited for once the faults had ended."""

    seed: int
    steps: int = 0
    commands: int = 0
    commits: int = 0
    claims: int = 0
    turns: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    failed: int = 0
    violations: list[str] = field(default_factory=list)
    covered: Counter[tuple[str, str]] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


def play(seed: int, steps: int, without: Without = WHOLE, *, keep_lines: bool = False) -> Report:
    """Run `steps` steps (attempts of clients or facts of calls, and faults), let the faults end, and check."""
    report = Report(seed)
    stage: Stage

    def step() -> bool:
        """Whether there is one left. Now and then it brings a fault with it."""
        if report.steps >= steps:
            return False
        report.steps += 1
        if stage.faults.due():
            report.steps += 1
            stage.faults.strike()
        return True

    draw = Random(seed)
    # Each fourth run is about calls and their spools; so is each where it is the spool that lacks something.
    spooling = without.checksum is not sha or (seed % 4 == 3 and without is WHOLE)
    stage = WorkerStage(draw, without, step) if spooling else Stage(draw, without)
    scheduler, tasks = stage.scheduler, stage.open(step)

    def done() -> bool:
        return stage.quiet() if isinstance(stage, WorkerStage) else all(task.done() for task in tasks)

    if not scheduler.run(lambda: report.steps >= steps, MOST_TURNS):
        report.violations.append("nothing goes on")
    healed_at = scheduler.now
    stage.heal()
    scheduler.run(lambda: done() or scheduler.now > healed_at + SETTLE_SECONDS, MOST_TURNS)
    report.longest = scheduler.now - healed_at
    if not done():
        report.violations.append(f"{report.longest:.0f} s after the faults had ended some were not answered")
    scheduler.run(lambda: not stage.cluster.under_way, MOST_TURNS)
    report.violations += [wrong for process in stage.processes for wrong in process.misuse]
    report.violations += [f"{process.name} failed: {bug!r}" for process in stage.processes for bug in process.bugs]
    if isinstance(stage, WorkerStage):
        report.violations += witnessed(stage)
        report.commands = sum(len(worker.noted) for worker in stage.workers)
        report.commits = len({command_id for command_id, *_ in stage.facts()})
    else:
        _judge(stage, report, without)
    report.turns, report.seconds, report.covered = scheduler.turns, scheduler.now, stage.story.covered
    if report.violations or keep_lines:
        report.lines = stage.story.lines()
    bury_all(stage)
    return report


def _judge(stage: Stage, report: Report, without: Without) -> None:
    logs = [(partition.records, partition.landed_at) for partition in stage.cluster.partitions.values()]
    attempts = stage.street.attempts
    truth = truth_of(logs, wanted_by(attempts), without.admission)
    told = {about: facts for process in stage.processes for about, facts in process.told.items()}
    report.violations += violations(truth, attempts, told, gaps=stage.cold and not stage.together)
    report.commands, report.commits, report.claims = len(attempts), len(truth.effects), truth.claims


def bury_all(stage: Stage) -> None:
    """Tasks of the dead never end by themselves; let nobody hear of it."""
    for process in stage.processes:
        if process.alive:
            process.die()
    living = stage.cluster.loop
    living.dead = True
    for task in [*living.tasks(), *(task for process in stage.processes for task in process.graveyard)]:
        bury(task)
