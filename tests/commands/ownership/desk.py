"""An owner at work on a paper log, one step at a time, and sentences about what it answers."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from commands.decider import Decider
from commands.dispatch import Committed, Order
from commands.flags import FLAGS, SetFlag
from commands.ownership.groups import DEFAULT_LIMITS, Answer, Group, Limits, Submission
from commands.ownership.owner import Owner
from commands.ownership.streams import Streams
from commands.ports import Place
from events.recorded import Recorded
from events.registry import Fact
from events.rooms import prepared_codec
from events.streams import StreamId
from tests.paper_log import PaperLog

PLACE = Place("aybiza.flags.v1", 0)
CODEC = prepared_codec()
DECIDERS: Mapping[str, Decider[Any, Any, Any]] = {"flags": FLAGS}
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
ON = SetFlag(enabled=True, variant="on")
OFF = SetFlag(enabled=False, variant="off")


def stream(name: str = "greeting") -> StreamId:
    return StreamId("AYB-TEST-TEST-TEST", "flags", name)


def command_id(text: str) -> bytes:
    return text.encode().ljust(16, b".")


def order(name: str = "first", body: str = "") -> Order:
    """The order of a command with this id; another `body` is another digest."""
    return Order(command_id=command_id(name), digest=command_id(body or name), actor="tester", occurred_at=AT)


class Desk:
    """Drives one owner as its loop does. What it answered is in `answers`, what it told watchers in `told`."""

    def __init__(
        self, log: PaperLog, name: str = "a", deciders: Mapping[str, Decider[Any, Any, Any]] = DECIDERS, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.log = log
        self.owner = Owner(log.place, Streams(deciders, CODEC), f"{name}.test", limits)
        self.waiting: deque[Submission] = deque()
        self.answers: dict[str, Committed | Exception] = {}
        self.told: list[Recorded[Fact]] = []
        self.now_ms = 1_000
        self._name, self._flags = name, deciders.get("flags", FLAGS)
        self._claims = 0

    def claim(self) -> bool:
        """Read to the end, claim, read the claim."""
        self.read(len(self.log.records))
        offset = self.log.append([self.owner.claim(self.claim_id(), self.now_ms)])
        self.read(offset)
        owned = self.owner.settle(offset)
        answers, again = self.owner.resolve()
        self.take(answers)
        self.waiting.extendleft(reversed(again))
        return owned

    def claim_id(self) -> bytes:
        self._claims += 1
        return command_id(f"{self._name}{self._claims}")

    def ask(self, name: str, command: object = ON, at: StreamId | None = None, *, expected: int | None = None, body: str = "") -> None:
        """A caller hands a command in; its answer will be known under this name."""
        self.ask_as(name, order(name, body), command, at, expected=expected)

    def ask_as(self, name: str, wanted: Order, command: object = ON, at: StreamId | None = None, *, expected: int | None = None) -> None:
        self.waiting.append(Submission(self._flags, at or stream(), command, wanted, expected, name))

    def group(self) -> Group:
        """Decide what waits."""
        group = self.owner.group(self.waiting, self.now_ms)
        self.take(group.answers)
        return group

    def confirm(self, base: int) -> None:
        """The batch was acknowledged at this offset: read what came between, then judge."""
        self.read(base)
        answers, facts = self.owner.confirm(base)
        self.take(answers)
        self.told.extend(facts)

    def work(self) -> None:
        """Decide what waits, append it, have it confirmed."""
        while self.waiting:
            group = self.group()
            if group.records:
                self.confirm(self.log.append(group.records))

    def read(self, stop: int) -> None:
        start = self.owner.next_offset
        if stop > start:
            self.told.extend(self.owner.judge(self.log.read(start, stop), stop))

    def take(self, answers: Sequence[Answer]) -> None:
        for submission, outcome in answers:
            assert submission.ticket not in self.answers, f"{submission.ticket} was answered twice"
            self.answers[submission.ticket] = outcome

    def committed(self, name: str) -> Committed:
        """The answer of a command that was accepted."""
        answer = self.answers[name]
        assert isinstance(answer, Committed), answer
        return answer
