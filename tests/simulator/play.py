"""One run: some processes that each believe in themselves, clients, and whatever may go wrong, all drawn from one seed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from commands.dispatching import LocalOwners
from commands.flags import FLAGS
from commands.ownership.partition import OwnedPartition
from commands.ports import Place
from events.streams import StreamId
from tests.simulator.checker import violations, wanted_by
from tests.simulator.clients import Street
from tests.simulator.faults import Faults
from tests.simulator.log import Cluster
from tests.simulator.loop import ProcessLoop, Scheduler, bury
from tests.simulator.process import Build, Process
from tests.simulator.story import Story
from tests.simulator.truth import CODEC, Admission, by_rule, truth_of

TOPIC = "aybiza.flags.v1"
PARTITIONS = 2
STREAMS = [StreamId("AYB-TEST-TEST-TEST", "flags", name) for name in ("ant", "bee", "cat", "dog")]
SETTLE_SECONDS = 90.0
MOST_TURNS = 2_000_000

Sabotage = Callable[[OwnedPartition], None]


@dataclass(slots=True)
class Report:
    """What one seed showed."""

    seed: int
    steps: int = 0
    commands: int = 0
    commits: int = 0
    claims: int = 0
    turns: int = 0
    seconds: float = 0.0
    failed: int = 0
    violations: list[str] = field(default_factory=list)
    covered: Counter[tuple[str, str]] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """What is taken away, to see whether it is missed."""

    sabotage: Sabotage | None = None
    admission: Admission = by_rule


WHOLE = Without()


def alone(without: Without) -> Build:
    """Processes that know of nobody else: each owns every partition, as long as the log lets it."""

    def build(process: Process) -> LocalOwners:
        owners = LocalOwners({"flags": (TOPIC, PARTITIONS)}, {"flags": FLAGS}, CODEC, process.world(), address=process.title)
        if without.sabotage is not None:
            for partition in owners._partitions():
                without.sabotage(partition)
        return owners

    return build


def play(seed: int, steps: int, without: Without = WHOLE, build: Callable[[Without], Build] = alone, *, keep_lines: bool = False) -> Report:
    """Run `steps` steps (attempts of clients, and faults), let the faults end, and check."""
    draw = Random(seed)
    scheduler = Scheduler()
    story = Story(scheduler)
    cluster = Cluster([Place(TOPIC, number) for number in range(PARTITIONS)], scheduler, draw, story)
    processes = [Process(name, cluster, draw, STREAMS, build(without)) for name in "ABC"[: draw.choice((2, 2, 3))]]
    street = Street(STREAMS, processes, cluster, draw)
    faults = Faults(processes, street, cluster, draw)
    report = Report(seed)

    def step() -> bool:
        """Whether there is one left. Now and then it brings a fault with it."""
        if report.steps >= steps:
            return False
        report.steps += 1
        if faults.due():
            report.steps += 1
            faults.strike()
        return True

    for process in processes:
        process.start()
    tasks = [cluster.loop.create_task(street.client(f"client{number}", step)) for number in range(draw.randint(2, 6))]
    if not scheduler.run(lambda: report.steps >= steps, MOST_TURNS):
        report.violations.append("nothing goes on")
    healed_at = scheduler.now
    street.healed = True
    faults.heal()
    story.tell("world", "the faults end")
    done = scheduler.run(lambda: all(task.done() for task in tasks) or scheduler.now > healed_at + SETTLE_SECONDS, MOST_TURNS)
    if not done or not all(task.done() for task in tasks):
        report.violations.append(f"{scheduler.now - healed_at:.0f} s after the faults had ended some were not answered")
    scheduler.run(lambda: not cluster.under_way, MOST_TURNS)
    for process in processes:
        report.violations += process.misuse + [f"{process.name} failed: {bug!r}" for bug in process.bugs]
    logs = [(partition.records, partition.landed_at) for partition in cluster.partitions.values()]
    attempts = street.attempts
    truth = truth_of(logs, wanted_by(attempts), without.admission)
    told = {about: facts for process in processes for about, facts in process.told.items()}
    report.violations += violations(truth, attempts, told)
    report.commands, report.commits, report.claims = len(attempts), len(truth.effects), truth.claims
    report.turns, report.seconds, report.covered = scheduler.turns, scheduler.now, story.covered
    if report.violations or keep_lines:
        report.lines = story.lines()
    _bury(processes, cluster.loop)
    return report


def _bury(processes: list[Process], living: ProcessLoop) -> None:
    """Tasks of the dead never end by themselves; let nobody hear of it."""
    for process in processes:
        if process.alive:
            process.die()
    living.dead = True
    for task in [*living.tasks(), *(task for process in processes for task in process.graveyard)]:
        bury(task)
