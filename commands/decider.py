"""The shape of every domain: decide a command against the state of one stream, evolve the state by facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")


class CommandRefused(Exception):
    """A rule of the business forbids the command. `code` is public and permanent; the text says what to do."""

    code = "refused"


class NotFound(CommandRefused):
    """The stream that the command is for has no such thing."""

    code = "not-found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider(Generic[C, S, E]):
    """Pure. `room` names the topic, `category` the middle of the stream's name.

    `decide` returns the new facts, or nothing where the command changes nothing, or raises CommandRefused. Facts that
    must name what others decided (times, ids, draws) get it from the command. `fold_version` is raised when `evolve` makes another
    state of the same facts, so that no snapshot of the old kind is gone on from; a change of the state's type is noticed without it.
    `over` says of a state that little will be asked of its stream again: then it is not kept in memory for long.
    """

    room: str
    category: str
    initial: S
    decide: Callable[[C, S], Sequence[E]]
    evolve: Callable[[S, E], S]
    fold_version: int = 1
    over: Callable[[S], bool] | None = None
