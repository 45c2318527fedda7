"""Sentences about deciders: `given(CONSENTS, *history).when(command).then(*facts)`."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import pytest

from commands.decider import CommandRefused, Decider
from events.registry import Fact
from events.sealing import Sealed

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R", bound=CommandRefused)


@dataclass(frozen=True, slots=True)
class When(Generic[C, S, E]):
    decider: Decider[C, S, E]
    state: S
    command: C

    def then(self, *facts: Fact) -> None:
        """The command brings these facts, whole and in this order; none: it changes nothing."""
        assert tuple(self.decider.decide(self.command, self.state)) == facts

    def then_refused(self, refusal: type[R]) -> R:
        """The command breaks this rule. The refusal has a code of its own and a text that can be shown."""
        with pytest.raises(CommandRefused) as raised:
            self.decider.decide(self.command, self.state)
        assert type(raised.value) is refusal
        assert raised.value.code != CommandRefused.code
        assert len(str(raised.value).split()) > 3
        return raised.value


@dataclass(frozen=True, slots=True)
class Given(Generic[C, S, E]):
    decider: Decider[C, S, E]
    state: S

    def when(self, command: C) -> When[C, S, E]:
        return When(self.decider, self.state, command)


def given(decider: Decider[C, S, E], *history: E) -> Given[C, S, E]:
    """A stream with this history."""
    state = decider.initial
    for fact in history:
        state = decider.evolve(state, fact)
    return Given(decider, state)


def sealed(text: str) -> Sealed[str]:
    """Stands for a sealed value: what is decided never depends on what is in the box."""
    return Sealed("AYB-TEST-TEST-TEST/someone", text.encode())
