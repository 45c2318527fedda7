"""What sending events to addresses needs from the world: an organisation's facts from any place on, a post office, and time."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from commands.dispatch import Dispatch
from events.recorded import Recorded
from events.registry import Fact


class Heard(Protocol):
    """A fact of an organisation. `name` is the place behind it, while the process lives; `Facts.lasting` makes it one for ever."""

    name: str
    recorded: Recorded[Fact]


class Facts(Protocol):
    """The facts of organisations, from any place on. Every method raises LogAway where they cannot be read now."""

    def follow(self, organisation: str, place: str) -> AsyncGenerator[Heard | None, None]:
        """From behind a place on, none left out, none twice, in order within a stream; None from time to time where nothing comes.

        Close it when leaving.
        """

    async def at(self, time: datetime) -> str:
        """The place behind which everything stands that was appended at a time or later; some of what was appended before may too."""

    async def lasting(self, name: str) -> str:
        """The same place, in a text that is good for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is sent: a body under the name of its event, with the secrets (in clear) by which it is signed."""

    name: str
    body: bytes
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a message. `failure` is empty where it was taken; `gone`: the address asks to be sent nothing more."""

    took_ms: int
    status: int | None = None
    failure: str = ""
    gone: bool = False
    wait_seconds: float = 0.0


class Post(Protocol):
    """Sends one message to an address, and says what became of it within a bounded time. It does not raise."""

    async def __call__(self, url: str, message: Message) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All of it. `envelope` makes a message's body, `opened` a sealed secret readable (by organisation); `draw` gives random bytes.

    `waits_seconds`: after each attempt that comes to nothing; after the last one the address is disabled.
    """

    facts: Facts
    dispatch: Dispatch
    post: Post
    envelope: Callable[[Recorded[Fact]], bytes]
    opened: Callable[[str, bytes], str]
    now: Callable[[], datetime]
    draw: Callable[[int], bytes]
    waits_seconds: Sequence[float]
