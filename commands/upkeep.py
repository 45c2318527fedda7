"""Decides about orders to the projections: each is on the log before anything is done, with who gave it and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider
from events.upkeep import DiscardOrdered, RedriveOrdered, UpkeepEvent

Discarded: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of a fact that a projection leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRedrive:
    """Fold again what is parked of a stream."""

    projection: str
    stream: str
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDiscard:
    """Leave a parked fact out for ever, and fold again what is parked behind it."""

    projection: str
    stream: str
    topic: str
    partition: int
    offset: int
    because: str


UpkeepCommand: TypeAlias = OrderRedrive | OrderDiscard


class ReasonMissing(CommandRefused):
    """Whoever reads the log later wants to know why."""

    code = "reason-missing"


def decide(command: UpkeepCommand, discarded: frozenset[Discarded]) -> Sequence[UpkeepEvent]:
    if not command.because.strip():
        raise ReasonMissing("say why: the order stays on the log for those who look at it later")
    match command:
        case OrderRedrive():
            return (RedriveOrdered(projection=command.projection, stream=command.stream, because=command.because),)
        case OrderDiscard(topic=topic, partition=partition, offset=offset):
            if (topic, partition, offset) in discarded:
                return ()
            named = {"projection": command.projection, "stream": command.stream, "because": command.because}
            return (DiscardOrdered(topic=topic, partition=partition, offset=offset, **named),)
        case _:
            assert_never(command)


def evolve(discarded: frozenset[Discarded], fact: UpkeepEvent) -> frozenset[Discarded]:
    if isinstance(fact, DiscardOrdered):
        return discarded | {(fact.topic, fact.partition, fact.offset)}
    return discarded


UPKEEP: Decider[UpkeepCommand, frozenset[Discarded], UpkeepEvent] = Decider(
    room="upkeep", category="upkeep", initial=frozenset(), decide=decide, evolve=evolve
)
