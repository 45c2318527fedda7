"""Decides about orders to the projections: each is on the log before anything is done, with who gave it and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider
from events.upkeep import BuildAct, BuildOrdered, DiscardOrdered, RedriveOrdered, UpkeepEvent

Discarded: TypeAlias = str
"""Topic, partition and offset of a fact that a projection leaves out, as one text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRedrive:
    """Fold again what is parked of a stream. The same order given twice is given once."""

    order: str
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBuild:
    """Begin a build of a projection, or do something with one. The same order given twice is given once."""

    order: str
    projection: str
    build: str
    act: BuildAct
    because: str


UpkeepCommand: TypeAlias = OrderRedrive | OrderDiscard | OrderBuild


class ReasonMissing(CommandRefused):
    """Whoever reads the log later wants to know why."""

    code = "reason-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What was ordered so far."""

    orders: frozenset[str] = frozenset()
    discarded: frozenset[Discarded] = frozenset()


def decide(command: UpkeepCommand, upkeep: Upkeep) -> Sequence[UpkeepEvent]:
    if not command.because.strip():
        raise ReasonMissing("say why: the order stays on the log for those who look at it later")
    match command:
        case OrderRedrive():
            if command.order in upkeep.orders:
                return ()
            return (RedriveOrdered(order=command.order, projection=command.projection, stream=command.stream, because=command.because),)
        case OrderBuild(order=order, projection=projection, build=build, act=act, because=because):
            if order in upkeep.orders:
                return ()
            return (BuildOrdered(order=order, projection=projection, build=build, act=act, because=because),)
        case OrderDiscard(topic=topic, partition=partition, offset=offset):
            if f"{topic}/{partition}/{offset}" in upkeep.discarded:
                return ()
            named = {"projection": command.projection, "stream": command.stream, "because": command.because}
            return (DiscardOrdered(topic=topic, partition=partition, offset=offset, **named),)
        case _:
            assert_never(command)


def evolve(upkeep: Upkeep, fact: UpkeepEvent) -> Upkeep:
    if isinstance(fact, DiscardOrdered):
        return replace(upkeep, discarded=upkeep.discarded | {f"{fact.topic}/{fact.partition}/{fact.offset}"})
    return replace(upkeep, orders=upkeep.orders | {fact.order})


UPKEEP: Decider[UpkeepCommand, Upkeep, UpkeepEvent] = Decider(
    room="upkeep", category="upkeep", initial=Upkeep(), decide=decide, evolve=evolve
)
