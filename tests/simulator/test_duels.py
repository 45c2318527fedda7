"""Two owners who cannot see each other, and are both asked all the time, leave each other in peace longer and longer."""

import asyncio
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from commands.ports import Place
from events.headers import Kind
from tests.simulator.play import bury_all
from tests.simulator.running import silence
from tests.simulator.stage import STREAMS, Stage

BLIND_SECONDS = 300.0
# Half a second, doubled up to thirty, at least; each of the two may claim once after each.
MOST_TERMS = 2 * (7 + int(BLIND_SECONDS / 30))


def duel(seed: int, *, patient: bool = True) -> tuple[Counter[Place], float]:
    """The claims on each partition meanwhile, and how long commands wait when the two see each other again."""
    stage = Stage(Random(seed), pair=True)
    if not patient:
        stage.patience = replace(stage.patience, superseded_most_seconds=stage.patience.superseded_seconds)
    scheduler, street, draw = stage.scheduler, stage.street, stage.draw

    async def ask(name: str) -> None:
        while scheduler.now < BLIND_SECONDS:
            await asyncio.sleep(draw.random())
            await street.ask_once(name, draw.choice(STREAMS), draw.choice(stage.processes))

    stage.network.walls["A", "B"] = stage.network.walls["B", "A"] = BLIND_SECONDS
    stage.open(lambda: False)
    asking = [stage.cluster.loop.create_task(ask(f"client{number}")) for number in range(4)]
    scheduler.run(lambda: scheduler.now >= BLIND_SECONDS, 10_000_000)
    claims = Counter(
        place
        for place, partition in stage.cluster.partitions.items()
        for raw in partition.records
        if raw.header is not None and raw.header.kind is Kind.CLAIM
    )
    stage.heal()
    seen_again = scheduler.now
    last = [stage.cluster.loop.create_task(street.see_through(f"last{number}", stream)) for number, stream in enumerate(STREAMS)]
    scheduler.run(lambda: all(task.done() for task in [*last, *asking]) or scheduler.now > seen_again + 60, 10_000_000)
    waited = scheduler.now - seen_again
    bury_all(stage)
    return claims, waited


@pytest.mark.parametrize("seed", range(3))
def test_terms_are_bounded_and_peace_is_quick(seed: int) -> None:
    with silence():
        claims, waited = duel(seed)
    assert all(2 <= count <= MOST_TERMS for count in claims.values()), claims
    assert waited < 10


def test_but_without_patience_they_fight_on() -> None:
    with silence():
        claims, _ = duel(0, patient=False)
    assert max(claims.values()) > 3 * MOST_TERMS
