"""Decides what a feature flag of a business says. A flag's stream lives on after its removal; it may be set again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from events.flags import FlagEvent, FlagRemoved, FlagSet


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFlag:
    """Give the flag this value from now on. `variant` is what a call records of it."""

    enabled: bool
    variant: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFlag:
    """Give a flag that is set other values for some of it; None leaves as it is."""

    enabled: bool | None = None
    variant: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFlag:
    """Take the flag away; readers take their default."""


FlagCommand: TypeAlias = SetFlag | ChangeFlag | RemoveFlag


class FlagVariantMissing(CommandRefused):
    """A flag says what it stands for, on or off."""

    code = "flag-variant-missing"


def decide(command: FlagCommand, flag: FlagSet | None) -> Sequence[FlagEvent]:
    match command:
        case SetFlag(enabled=enabled, variant=variant, description=description):
            return _set(FlagSet(enabled=enabled, variant=variant, description=description), flag)
        case ChangeFlag():
            known = _must_be_set(flag)
            changed = {name: getattr(command, name) for name in ("enabled", "variant", "description")}
            return _set(replace(known, **{name: value for name, value in changed.items() if value is not None}), flag)
        case RemoveFlag():
            _must_be_set(flag)
            return (FlagRemoved(),)
        case _:
            assert_never(command)


def _set(wanted: FlagSet, flag: FlagSet | None) -> Sequence[FlagEvent]:
    if not wanted.variant.strip():
        raise FlagVariantMissing("name the variant that calls shall record, for example 'on' or 'off'")
    return () if wanted == flag else (wanted,)


def _must_be_set(flag: FlagSet | None) -> FlagSet:
    if flag is None:
        raise NotFound("no such flag is set; check its name")
    return flag


def evolve(_: FlagSet | None, fact: FlagEvent) -> FlagSet | None:
    return fact if isinstance(fact, FlagSet) else None


FLAGS: Decider[FlagCommand, FlagSet | None, FlagEvent] = Decider(room="flags", category="flags", initial=None, decide=decide, evolve=evolve)
