"""Two or three owners who each believe in themselves, on one partition, under a network that loses, delays and doubles their hopes.

`Play` draws one step after another; `violations` says what went wrong. Without one of the safety details it must find something.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from commands.dispatch import Committed, ExpectedVersionMismatch, LogUnavailable
from commands.flags import RemoveFlag
from commands.ownership.owner import Owner
from commands.ports import NewRecord
from events.admission import UNCLAIMED, admit
from events.headers import Kind
from events.records import RawRecord
from tests.commands.ownership.desk import OFF, ON, PLACE, Desk, order, stream
from tests.paper_log import PaperLog

Admission = Callable[[PaperLog], list[RawRecord]]
STREAMS = ("one", "two")
COMMANDS = (ON, OFF, RemoveFlag())


@dataclass(slots=True)
class Flight:
    """An append on its way: landed or not, and whether its sender still waits for it."""

    records: Sequence[NewRecord]
    claim: bool
    landed: int | None = None
    given_up: bool = False


@dataclass(slots=True)
class Asked:
    """A command as its caller knows it. Its stream went from version `lowest` to `highest` while the caller waited, as the log tells."""

    stream: str
    command: str
    lowest: int
    highest: int
    settled: bool = False


@dataclass(slots=True)
class Rival:
    desk: Desk
    flight: Flight | None = None
    flights: list[Flight] = field(default_factory=list)


class Play:
    """One run. `steps` are drawn from `draw`, so that a seed tells the whole story again."""

    def __init__(self, draw: Random, rivals: int = 2, owner: type[Owner] = Owner, *, contiguity: bool = True) -> None:
        self.log = PaperLog(PLACE)
        self.asked: dict[str, Asked] = {}
        self.history: list[str] = []
        self._draw = draw
        self._contiguity = contiguity
        self._rivals = [Rival(Desk(self.log, f"owner{number}")) for number in range(rivals)]
        for rival in self._rivals:
            rival.desk.owner.__class__ = owner

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step(self._draw.choice(self._rivals))
        # The faults end: everything lands, everyone hears of it, and somebody finishes.
        for rival in self._rivals:
            self._settle(rival)
        for _ in range(20):
            for rival in self._rivals:
                if rival.desk.waiting or rival.flight is not None:
                    self._send(rival)
                    self._settle(rival)

    def answers(self) -> dict[str, Committed | Exception]:
        return {name: answer for rival in self._rivals for name, answer in rival.desk.answers.items()}

    def _step(self, rival: Rival) -> None:
        self._draw.choice((self._ask, self._ask, self._send, self._send, self._land, self._land, self._hear, self._hear, self._give_up))(
            rival
        )
        self._note_versions()

    def _ask(self, rival: Rival) -> None:
        name = f"caller{len(self.asked)}"
        at = self._draw.choice(STREAMS)
        wanted = f"command{self._draw.randrange(12)}"
        expected = self._draw.choice((None, None, self._version(at)))
        self.asked[name] = Asked(at, wanted, self._version(at), self._version(at))
        # The same id stands for the same body, on whichever stream it is used.
        rival.desk.ask_as(name, order(wanted), COMMANDS[int(wanted[7:]) % 3], stream(at), expected=expected)
        self.history.append(f"{name} asks for {wanted} on {at}, expecting {expected}")

    def _send(self, rival: Rival) -> None:
        desk = rival.desk
        if rival.flight is not None:
            return
        if not desk.owner.owns:
            if not desk.waiting and desk.owner.under_way is None:
                return
            # A broker may call its end less than it is.
            desk.read(self._draw.randint(desk.owner.next_offset, len(self.log.records)))
            rival.flight = Flight([desk.owner.claim(desk.claim_id(), 0)], claim=True)
        elif desk.waiting:
            group = desk.group()
            if not group.records:
                return
            rival.flight = Flight(group.records, claim=False)
        else:
            return
        rival.flights.append(rival.flight)

    def _land(self, rival: Rival) -> None:
        flights = [flight for flight in rival.flights if flight.landed is None]
        if flights:
            flight = self._draw.choice(flights)
            flight.landed = self.log.append(flight.records)
            self.history.append(f"{'claim' if flight.claim else 'batch'} of {len(flight.records)} lands at {flight.landed}")

    def _hear(self, rival: Rival) -> None:
        desk, flight = rival.desk, rival.flight
        if flight is None or flight.landed is None:
            return
        rival.flight = None
        if not flight.claim:
            if not self._contiguity:
                desk.owner.next_offset = flight.landed
            desk.confirm(flight.landed)
            self._turned_away(desk)
            return
        desk.read(flight.landed)
        owned = desk.owner.settle(flight.landed)
        answers, again = desk.owner.resolve()
        desk.take(answers)
        desk.waiting.extendleft(reversed(again))
        if not owned:
            self._turned_away(desk)

    def _give_up(self, rival: Rival) -> None:
        """No answer in time. What was sent may still land."""
        if rival.flight is not None:
            rival.flight.given_up = True
            if not rival.flight.claim:
                rival.desk.owner.doubt()
            rival.flight = None

    def _turned_away(self, desk: Desk) -> None:
        if not desk.owner.owns:
            for submission in desk.waiting:
                desk.answers[submission.ticket] = LogUnavailable("another owner")
            desk.waiting.clear()

    def _settle(self, rival: Rival) -> None:
        while any(flight.landed is None for flight in rival.flights):
            self._land(rival)
        while rival.flight is not None or rival.desk.owner.under_way is not None:
            self._hear(rival)
            self._send(rival)
            self._land(rival)
            self._note_versions()

    def _version(self, at: str) -> int:
        return sum(raw.key == stream(at).key for raw in self.log.admitted() if raw.header is not None and raw.header.kind is Kind.EVENT)

    def _note_versions(self) -> None:
        versions = {at: self._version(at) for at in STREAMS}
        answered = self.answers()
        for name, asked in self.asked.items():
            if not asked.settled:
                asked.highest = versions[asked.stream]
                asked.settled = name in answered


def by_rule(log: PaperLog) -> list[RawRecord]:
    return log.admitted()


def violations(play: Play, admission: Admission = by_rule) -> list[str]:
    """What the log and the callers' answers say that must never be."""
    found = []
    admitted = admission(play.log)
    events = [raw for raw in admitted if raw.header is not None and raw.header.kind is Kind.EVENT]
    versions: defaultdict[bytes, int] = defaultdict(int)
    taken: defaultdict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    for raw in admitted:
        header = raw.header
        assert header is not None
        if header.kind is Kind.EVENT:
            versions[raw.key] += 1
            if header.version != versions[raw.key]:
                found.append(f"offset {raw.offset} has version {header.version} after {versions[raw.key] - 1}")
        if header.kind in {Kind.EVENT, Kind.RECEIPT}:
            taken[raw.key, header.command_id].add(header.commit_id)
    found += [f"command {command_id!r} took effect {len(commits)} times" for (_, command_id), commits in taken.items() if len(commits) > 1]
    at_offset = {raw.offset: raw for raw in admitted}
    first: dict[tuple[str, str], Committed] = {}
    for name, answer in play.answers().items():
        asked = play.asked[name]
        match answer:
            case Committed():
                place = at_offset.get(answer.position.offset)
                if place is None or place.key != stream(asked.stream).key or _version_at(place) != answer.version:
                    found.append(f"{name} was told of offset {answer.position.offset}, which is not admitted so")
                earlier = first.setdefault((asked.stream, asked.command), answer)
                if (earlier.position, earlier.version) != (answer.position, answer.version):
                    found.append(f"{name} got another answer than the first")
            case ExpectedVersionMismatch():
                if not asked.lowest <= answer.found <= asked.highest:
                    found.append(f"{name} was told of version {answer.found} and waited from {asked.lowest} to {asked.highest}")
            case _:
                pass
    found += [f"{name} was never answered" for name in play.asked if name not in play.answers()]
    answered = {(stream(at).key, order(command).command_id) for at, command in first}
    found += [
        f"command {command_id!r} was admitted and never acknowledged" for key, command_id in taken if (key, command_id) not in answered
    ]
    found += _readers_differ(play.log, admitted) if admission is by_rule else []
    assert len(events) == sum(versions.values())
    return found


def _version_at(raw: RawRecord) -> int:
    assert raw.header is not None
    return raw.header.version


def _readers_differ(log: PaperLog, admitted: Sequence[RawRecord]) -> list[str]:
    """A reader who goes on anywhere with the fence of the place reads what the first reader read."""
    fence, found = UNCLAIMED, []
    for offset, raw in enumerate(log.records):
        if log.admitted(offset, fence) != [each for each in admitted if each.offset >= offset]:
            found.append(f"a reader who goes on at {offset} reads something else")
        fence, _ = admit(fence, raw.header)
    return found
