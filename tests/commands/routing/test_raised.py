"""Whatever a command ends with in another process, its bearer meets the same class, text and attributes."""

import inspect
import typing
from enum import Enum
from typing import Any

import pytest

from commands.agent_configuration import InvalidConfiguration
from commands.decider import CommandRefused, NotFound
from commands.dispatch import CommandIdReused, CommitInDoubt, CommitTooLarge, ExpectedVersionMismatch, LogUnavailable, UnknownCategory
from commands.ownership.appending import Superseded
from commands.rooms import DECIDERS
from commands.routing.raised import FailedElsewhere, decode_raised, encode_raised
from commands.wire import BrokenCommand, UnknownCommand

ANSWERS: list[Exception] = [
    ExpectedVersionMismatch(3, 4), CommandIdReused("another body"), LogUnavailable("away", 70), CommitInDoubt("who knows"),
    CommitTooLarge("too large"), UnknownCategory("clouds"), UnknownCommand("Fly"), BrokenCommand("cut"),
]  # fmt: skip


def refusals(kind: type[CommandRefused] = CommandRefused) -> list[type[CommandRefused]]:
    """Every refusal of the rooms; a test's own are no room's."""
    found = [kind] if kind.__module__.startswith("commands.") else []
    return found + [each for under in kind.__subclasses__() for each in refusals(under)]


def example(kind: type[CommandRefused]) -> CommandRefused:
    """One of its kind, with something in each of its parameters."""
    if not inspect.isfunction(kind.__init__):
        return kind("name it, and say why")
    hints = typing.get_type_hints(kind.__init__)
    return kind(**{name: sample(hint) for name, hint in hints.items() if name != "return"})


def sample(hint: Any) -> Any:
    if hint is str:
        return "text"
    if hint is int:
        return 7
    if hint == list[tuple[str, str]]:
        return [("/a", "is wrong"), ("", "as well")]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    raise AssertionError(f"a refusal with {hint}: see that it can go to another process, and add an example here")


def same(one: Exception, other: Exception) -> bool:
    return (type(one), str(one), vars(one)) == (type(other), str(other), vars(other))


class TestRefusal:
    @pytest.mark.parametrize("kind", refusals(), ids=lambda kind: kind.code)
    def test_of_every_room_comes_out_as_itself(self, kind: type[CommandRefused]) -> None:
        assert DECIDERS
        refusal = example(kind)
        assert same(decode_raised(encode_raised(refusal)), refusal)

    def test_keeps_what_is_wrong_where(self) -> None:
        found = decode_raised(encode_raised(InvalidConfiguration([("/voice", "is silent")])))
        assert isinstance(found, InvalidConfiguration)
        assert found.errors == [("/voice", "is silent")]

    def test_codes_are_each_one_rooms(self) -> None:
        codes = [kind.code for kind in refusals()]
        assert len(codes) == len(set(codes))

    def test_of_a_newer_program_is_still_a_refusal(self) -> None:
        data = encode_raised(NotFound("there is none")).replace(b"not-found", b"not-yet-known")
        found = decode_raised(data)
        assert type(found) is CommandRefused
        assert str(found) == "there is none"


class TestAnswer:
    @pytest.mark.parametrize("error", ANSWERS, ids=lambda error: type(error).__name__)
    def test_comes_out_as_itself(self, error: Exception) -> None:
        assert same(decode_raised(encode_raised(error)), error)

    def test_of_an_owner_that_was_superseded_is_to_try_again(self) -> None:
        found = decode_raised(encode_raised(Superseded(70)))
        assert type(found) is LogUnavailable
        assert found.retry_after_ms == 70

    def test_that_is_a_bug_keeps_its_words_at_home(self) -> None:
        found = decode_raised(encode_raised(ZeroDivisionError("divided +15550100 by zero")))
        assert type(found) is FailedElsewhere
        assert "ZeroDivisionError" in str(found)
        assert "+1555" not in str(found)
