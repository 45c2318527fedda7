"""Upcasters: how a fact of an old version becomes one of the next. Every codec applies them, so every reader meets the newest only."""

import typing
from collections.abc import Callable
from typing import Any, TypeVar

from events.registry import EventType, type_of_class

Old = TypeVar("Old")
New = TypeVar("New")
_STEPS: dict[type, tuple[type, Callable[[Any], Any]]] = {}


def upcast(step: Callable[[Old], New]) -> Callable[[Old], New]:
    """Declare the pure function that makes a fact of the next version out of an old one, as its annotations say. Beside the event.

    It may look at nothing but the old fact: every reader must come to the same, today and in ten years.
    """
    hints = typing.get_type_hints(step)
    (old,) = [hint for name, hint in hints.items() if name != "return"]
    _check(old, hints["return"])
    _STEPS[old] = (hints["return"], step)
    return step


def newest_of(cls: type) -> type:
    """The class that a fact of this one is read as."""
    while cls in _STEPS:
        cls = _STEPS[cls][0]
    return cls


def upcaster(cls: type) -> Callable[[Any], Any] | None:
    """All steps from this version to the newest as one function; None: it is the newest."""
    steps = []
    while cls in _STEPS:
        cls, step = _STEPS[cls]
        steps.append(step)
    if not steps:
        return None

    def lift(fact: Any) -> Any:
        for step in steps:
            fact = step(fact)
        return fact

    return lift


def _check(old: type, new: type) -> None:
    before, after = type_of_class(old), type_of_class(new)
    if old in _STEPS and _STEPS[old][0].__qualname__ != new.__qualname__:
        raise TypeError(f"{before.ce_type} has an upcaster already")
    if before.room != after.room or (before.name == after.name and before.version >= after.version) or newest_of(new) is old:
        raise TypeError(f"{before.ce_type} cannot become {after.ce_type}: an upcaster leads to a later version in the same room")


def is_newest(kind: EventType) -> bool:
    """Whether facts of this kind are still written. Older ones are only read."""
    return kind.cls not in _STEPS
