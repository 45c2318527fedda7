"""Any signal at all, made from its type: so that one which is added tomorrow is thrown at the machine tomorrow."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from events.sealing import Sealed
from realtime.machine import signals
from realtime.machine.effects import CancelModel, Effect
from realtime.machine.signals import Engine, Signal
from realtime.machine.state import Life
from realtime.machine.stepping import step
from tests.realtime.scene import sealed
from tests.realtime.test_machine import TEXTS, TOOLS, WORDS, Watchman

KINDS: Sequence[type] = get_args(Signal)
_IDS = ("", "t1", "t2", "MZ1", "g1:u1:end", "g2:u3:end", "goodbye", "revoked", "desk", "5", "#", *TOOLS, *WORDS, *TEXTS)
# What would end the call is thrown so seldom that calls get somewhere.
_LETHAL = 0.04
_DAY = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)


def anything(draw: random.Random, hint: Any, at_ms: int, name: str = "") -> Any:
    """A value of a type; times lie in the last two seconds, and are told by their field's name."""
    origin, of = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return (
            None
            if NoneType in of and draw.random() < 0.7
            else anything(draw, draw.choice([each for each in of if each is not NoneType]), at_ms)
        )
    if (origin or hint) is Sealed:
        return sealed(draw.choice(_IDS))
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{each.name: anything(draw, hints[each.name], at_ms, each.name) for each in fields(hint)})  # type: ignore[operator]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return draw.choice(list(hint))
    if origin is Literal:
        return draw.choice(of)
    if origin is tuple and of[-1] is not Ellipsis:
        return tuple(anything(draw, each, at_ms) for each in of)
    if origin in (tuple, Sequence, list):
        return tuple(anything(draw, of[0], at_ms) for _ in range(draw.randrange(3)))
    if origin in (Mapping, dict):
        return {draw.choice(_IDS): anything(draw, of[1], at_ms) for _ in range(draw.randrange(3))}
    return _simple(draw, hint, at_ms, name)


def _simple(draw: random.Random, hint: Any, at_ms: int, name: str) -> Any:
    if name == "at_ms":
        return at_ms
    if hint is int:
        return (
            at_ms - draw.randrange(2000)
            if name.endswith("_ms")
            else draw.choice((0, 1, 2, 3, draw.randrange(1, 30), draw.randrange(1, 9000)))
        )
    plain: Mapping[Any, Any] = {
        str: draw.choice(_IDS), bool: draw.random() < 0.5, float: draw.random(), bytes: b"x", NoneType: None, datetime: _DAY,
        Any: draw.choice(("nine", 9, None, {"free": ["nine", 10.5]}, [])),
    }  # fmt: skip
    return plain[hint]


@dataclass(slots=True)
class WildWatchman(Watchman):
    """A watchman who sees everything, and keeps what was seen."""

    draw: random.Random = field(default_factory=random.Random)
    seen: list[tuple[Signal, tuple[Effect, ...]]] = field(default_factory=list)
    alive: set[type] = field(default_factory=set)

    def give(self, signal: Signal) -> None:
        if isinstance(signal, signals.ModelDone) or (isinstance(signal, signals.EngineBroke) and signal.engine is Engine.MODEL):
            self.open.discard(signal.asked)
        after, effects = step(self.state, signal)
        if self.state.life is Life.TALKING:
            if after.life is not Life.TALKING and self.draw.random() > _LETHAL:
                return
            self.alive.add(type(signal))
        self.seen.append((signal, effects))
        Watchman.give(self, signal)

    def check(self, effect: Effect) -> None:
        # A wild end of an answer is not always the end of its question.
        if isinstance(effect, CancelModel):
            self.open.discard(effect.asked)
        else:
            Watchman.check(self, effect)

    def throw(self) -> None:
        """Something sensible, or anything at all."""
        self.at_ms += int(self.draw.random() ** 3 * 900)
        if self.draw.random() < 0.6:
            self.act(self.draw.randrange(26), self.draw.randrange(10_000), 0)
            return
        signal: Signal = anything(self.draw, self.draw.choice(KINDS), self.at_ms)
        if not isinstance(signal, signals.VoiceArrived) or signal.samples:
            self.give(signal)


def wild_call(seed: int, length: int) -> WildWatchman:
    """A call in which anything happens."""
    watchman = WildWatchman(draw=random.Random(seed))
    watchman.begin(smoothly=seed % 3 != 0)
    for _ in range(length):
        watchman.throw()
    return watchman
