"""What a command may end with instead of a commit, as bytes: the same class with the same text and attributes comes out.

A refusal goes by its permanent code. What its class takes in `__init__` goes by name; texts, numbers, enums and lists of them can.
"""

import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any

from commands.decider import CommandRefused
from commands.dispatch import CommandIdReused, CommitInDoubt, CommitTooLarge, ExpectedVersionMismatch, LogUnavailable, UnknownCategory
from commands.wire import BrokenCommand, UnknownCommand

_ANSWERS: Mapping[str, type[Exception]] = {
    "log-unavailable": LogUnavailable,
    "expected-version-mismatch": ExpectedVersionMismatch,
    "command-id-reused": CommandIdReused,
    "commit-in-doubt": CommitInDoubt,
    "commit-too-large": CommitTooLarge,
    "unknown-category": UnknownCategory,
    "unknown-command": UnknownCommand,
    "broken-command": BrokenCommand,
}
_PLAIN = (str, int, float, bool, NoneType)


class FailedElsewhere(Exception):
    """A bug of the decider, or of the process that owns the stream; its log says more."""


def encode_raised(error: BaseException) -> bytes:
    """Bytes for any exception; for one that is no answer to a command its class only, for its words may tell what nobody should read."""
    for name, kind in _ANSWERS.items():
        if isinstance(error, kind):
            return _json("answer", name, error, kind)
    if isinstance(error, CommandRefused):
        return _json("refusal", type(error).code, error, type(error))
    return json.dumps({"family": "failure", "name": type(error).__name__}).encode()


def decode_raised(data: bytes) -> Exception:
    """A refusal whose code is not known here comes out as the family's own class, with its text. Raises ValueError."""
    said = json.loads(data)
    family, name = said["family"], said["name"]
    if family == "failure":
        return FailedElsewhere(f"the process that owns the stream failed at the command ({name}); its log says why")
    kind = _ANSWERS.get(name) if family == "answer" else _refusals().get(name)
    if kind is None:
        return CommandRefused(said["text"])
    taken = _parameters(kind)
    if taken is None:
        return kind(said["text"])
    return kind(**{parameter: _raise(hint, said["with"][parameter]) for parameter, hint in taken.items()})


def _json(family: str, name: str, error: BaseException, kind: type[Exception]) -> bytes:
    said: dict[str, Any] = {"family": family, "name": name, "text": str(error)}
    taken = _parameters(kind)
    if taken is not None:
        # What is only said becomes the text.
        said["with"] = {parameter: _lower(getattr(error, parameter, said["text"])) for parameter in taken}
    return json.dumps(said, ensure_ascii=False).encode()


def _parameters(kind: type[Exception]) -> Mapping[str, Any] | None:
    """What a class takes, by name, with its types; None where it takes a text as every exception does."""
    if not inspect.isfunction(kind.__init__):
        return None
    hints = typing.get_type_hints(kind.__init__)
    return {name: hint for name, hint in hints.items() if name != "return"}


def _refusals() -> Mapping[str, type[CommandRefused]]:
    return {kind.code: kind for kind in _under(CommandRefused)}


def _under(kind: type[CommandRefused]) -> Iterator[type[CommandRefused]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _under(each)


def _lower(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_lower(each) for each in value]
    if isinstance(value, _PLAIN):
        return value
    raise TypeError(f"a refusal cannot take {type(value).__name__} to another process; give it a text")


def _raise(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, UnionType}:
        return None if value is None else _raise(next(each for each in args if each is not NoneType), value)
    if origin is tuple and args[-1:] != (...,):
        return tuple(_raise(each, inner) for each, inner in zip(args, value, strict=True))
    if origin in {list, tuple} or (isinstance(origin, type) and not isinstance(value, str)):
        return (tuple if origin is tuple else list)(_raise(args[0], inner) for inner in value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value
