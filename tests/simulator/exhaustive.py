"""Every interleaving of two owners and three commands within bounds: appends land in any order, late, or never; each may be given up.

Owners are the real machine. What one of them does depends on its own state and on what it reads, so it is done once and remembered;
a state of the whole is seen once, whatever the way to it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from commands.decider import CommandRefused
from commands.dispatch import CommandIdReused, Committed, ExpectedVersionMismatch, LogUnavailable
from commands.flags import FLAGS, RemoveFlag
from commands.ownership.groups import Answer, Submission
from commands.ownership.owner import Owner
from commands.ownership.streams import Streams
from commands.ports import NewRecord
from events.headers import Kind
from events.records import RawRecord, read_header
from tests.commands.ownership.desk import CODEC, DECIDERS, OFF, ON, PLACE, command_id, order, stream
from tests.simulator.history import Wanted
from tests.simulator.seats import dumped, loaded
from tests.simulator.truth import Truth, by_rule, truth_of

KEY = stream().key


def _wanted(name: str, command: Any, expected: int | None = None, body: str = "") -> Wanted:
    return Wanted(stream=stream(), command=command, order=order(name, body), expected_version=expected)


SCRIPTS: tuple[tuple[Wanted, ...], ...] = (
    # Something is set, taken away, and the first command is repeated: it must not come back.
    (_wanted("c0", ON), _wanted("c1", RemoveFlag()), _wanted("c0", ON)),
    # Two create the same; the first id comes again with another body.
    (_wanted("c0", ON, 0), _wanted("c1", ON, 0), _wanted("c0", OFF, body="other")),
    # One changes nothing, which is remembered; one is refused where nothing is set.
    (_wanted("c0", RemoveFlag()), _wanted("c1", ON), _wanted("c1", ON)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """Bounds: commands of the script, claims of each owner, and how many appends are given up in all."""

    commands: int = 3
    claims: int = 2
    given_up: int = 2


class State(NamedTuple):
    """`log` has a number per record. `seats` are owners with what waits for them. `flights`: owner and batch of what may still land.

    `current` is what each owner waits for: nothing, a batch that has not landed (-1), or where it landed. `asked_at` is the length of
    the log when each command was given; `denied` are the commands whose bearers were told that they are not on the log.
    """

    log: tuple[int, ...] = ()
    seats: tuple[int, ...] = ()
    flights: tuple[tuple[int, int], ...] = ()
    current: tuple[tuple[int, int] | None, ...] = (None, None)
    claims: tuple[int, ...] = (0, 0)
    given_up: int = 0
    asked_at: tuple[int, ...] = ()
    pending: frozenset[int] = frozenset()
    denied: frozenset[int] = frozenset()


class Found(Exception):
    """Something that must never be, and how it came about."""


class Exploration:
    """All states of one script. `states` counts them."""

    def __init__(self, script: Sequence[Wanted], within: Within, owner: type[Owner] = Owner) -> None:
        self.script = script[: within.commands]
        self.within = within
        self._kind = owner
        self._records: list[tuple[bytes, bytes, int, tuple[tuple[str, bytes], ...]]] = []
        self._known_records: dict[tuple[bytes, bytes, int, tuple[tuple[str, bytes], ...]], int] = {}
        self._batches: list[tuple[int, ...]] = []
        self._known_batches: dict[tuple[int, ...], int] = {}
        self._seats: list[bytes] = []
        self._known_seats: dict[bytes, int] = {}
        self._done: dict[tuple[Any, ...], tuple[int, int, tuple[Answer, ...]]] = {}
        self._facts: dict[int, tuple[int, bool, bool, bool]] = {}
        self._truths: dict[tuple[int, ...], Truth] = {}
        self._before: dict[State, tuple[State, str] | None] = {}

    @property
    def states(self) -> int:
        return len(self._before)

    def run(self) -> None:
        """Raises Found."""
        seats = tuple(self._seat(self._kind(PLACE, Streams(DECIDERS, CODEC), name), deque()) for name in "ab")
        first = State(seats=seats)
        self._before[first] = None
        waiting, parts = [first], dict[Any, Any]()
        while waiting:
            state = waiting.pop()
            for words, found in self._steps(state):
                if found not in self._before:
                    # There are millions, of few different parts.
                    after = State(*(parts.setdefault(part, part) for part in found))
                    self._before[after] = (state, parts.setdefault(words, words))
                    waiting.append(after)

    def way_to(self, state: State) -> list[str]:
        words = []
        step = self._before[state]
        while step is not None:
            state, said = step
            words.append(said)
            step = self._before[state]
        return words[::-1]

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        for at in (0, 1):
            name = "ab"[at]
            if len(state.asked_at) < len(self.script):
                number = len(state.asked_at)
                seat, _, _ = self._do(state.seats[at], "ask", number)
                after = state._replace(seats=_put(state.seats, at, seat), asked_at=(*state.asked_at, len(state.log)))
                yield f"command {number} is given to {name}", after._replace(pending=state.pending | {number})
            if state.current[at] is None:
                yield from self._sends(state, at)
            else:
                yield from self._ends(state, at)
        for flight in sorted(set(state.flights)):
            yield self._land(state, flight)

    def _sends(self, state: State, at: int) -> Iterator[tuple[str, State]]:
        next_offset, owns, waits, doubts = self._facts[state.seats[at]]
        if owns and waits:
            seat, batch, answers = self._do(state.seats[at], "group")
            after = state._replace(seats=_put(state.seats, at, seat))
            if batch >= 0:
                after = after._replace(flights=(*state.flights, (at, batch)), current=_put(state.current, at, (batch, -1)))
            yield self._told(state, after, f"{'ab'[at]} sends a batch", answers)
        elif not owns and (waits or doubts) and state.claims[at] < self.within.claims:
            # A broker may call its end less than it is.
            for stop in range(next_offset, len(state.log) + 1):
                seat, batch, _ = self._do(state.seats[at], "claim", state.log[next_offset:stop], state.claims[at])
                after = state._replace(
                    seats=_put(state.seats, at, seat),
                    flights=(*state.flights, (at, batch)),
                    current=_put(state.current, at, (batch, -1)),
                    claims=_put(state.claims, at, state.claims[at] + 1),
                )
                yield f"{'ab'[at]} reads to {stop} and sends a claim", after

    def _ends(self, state: State, at: int) -> Iterator[tuple[str, State]]:
        current = state.current[at]
        assert current is not None
        batch, landed = current
        free = state._replace(current=_put(state.current, at, None))
        if landed >= 0:
            next_offset = self._facts[state.seats[at]][0]
            seat, _, answers = self._do(state.seats[at], "hear", state.log[next_offset:landed], landed, self._is_claim(batch))
            after = free._replace(seats=_put(state.seats, at, seat))
            yield self._told(state, after, f"{'ab'[at]} hears that it lies at {landed}", answers)
        if state.given_up < self.within.given_up:
            seat = state.seats[at] if self._is_claim(batch) else self._do(state.seats[at], "doubt")[0]
            yield f"{'ab'[at]} gives up", free._replace(seats=_put(state.seats, at, seat), given_up=state.given_up + 1)

    def _land(self, state: State, flight: tuple[int, int]) -> tuple[str, State]:
        at, batch = flight
        base, log = len(state.log), state.log + self._batches[batch]
        flights = list(state.flights)
        flights.remove(flight)
        current = _put(state.current, at, (batch, base)) if state.current[at] == (batch, -1) else state.current
        words, after = f"what {'ab'[at]} sent lands at {base}", state._replace(log=log, flights=tuple(flights), current=current)
        truth = self._truth(log)
        wrong = list(truth.found)
        for number in state.denied:
            wanted = self.script[number]
            others = [each for each, other in enumerate(self.script) if other.order.command_id == wanted.order.command_id]
            effect = truth.effects.get((KEY, wanted.order.command_id))
            if effect is not None and effect.digest == wanted.order.digest and all(each in state.denied for each in others):
                wrong.append(f"command {number} is on the log, and all were told that it is not")
        if wrong:
            raise self._found(state, words, wrong)
        return words, after

    def _told(self, state: State, after: State, words: str, answers: Sequence[Answer]) -> tuple[str, State]:
        for submission, outcome in answers:
            number = submission.ticket
            if number not in after.pending:
                raise self._found(state, words, [f"command {number} was answered twice"])
            wrong = self._wrong(after, number, outcome)
            if wrong:
                raise self._found(state, words, [wrong])
            denied = after.denied | {number} if isinstance(outcome, LogUnavailable) else after.denied
            after = after._replace(pending=after.pending - {number}, denied=denied)
        return words, after

    def _wrong(self, state: State, number: int, outcome: Committed | Exception) -> str:
        wanted, truth = self.script[number], self._truth(state.log)
        effect = truth.effects.get((KEY, wanted.order.command_id))
        if isinstance(outcome, Committed):
            right = effect is not None and (effect.position, effect.version, effect.digest) == (*outcome[:2], wanted.order.digest)
            return "" if right else f"command {number} was told of version {outcome.version} at {outcome.position.offset}"
        if isinstance(outcome, LogUnavailable):
            return ""
        seen = [self._moment(state.log[:length]) for length in range(state.asked_at[number], len(state.log) + 1)]
        if isinstance(outcome, ExpectedVersionMismatch):
            true = any(version == outcome.found for version, _ in seen) and outcome.found != wanted.expected_version
        elif isinstance(outcome, CommandIdReused):
            true = effect is not None and effect.digest != wanted.order.digest
        elif isinstance(outcome, CommandRefused):
            true = any(held is None for _, held in seen)
        else:
            raise outcome
        return "" if true else f"command {number} was told {outcome!r}, which was never so: {seen}"

    def _found(self, state: State, words: str, wrong: Sequence[str]) -> Found:
        return Found("\n".join([*wrong, *self.way_to(state), words]))

    def _truth(self, log: tuple[int, ...]) -> Truth:
        if log not in self._truths:
            wanted = {(KEY, each.order.command_id, each.order.digest): each for each in self.script}
            self._truths[log] = truth_of([(self._raw(log, 0), [0.0] * len(log))], wanted, by_rule)
        return self._truths[log]

    def _moment(self, log: tuple[int, ...]) -> tuple[int, Any]:
        moments = self._truth(log).moments.get(KEY)
        return (moments[-1].version, moments[-1].state) if moments else (0, FLAGS.initial)

    def _raw(self, log: Sequence[int], base: int) -> list[RawRecord]:
        return [
            RawRecord(*PLACE, offset, timestamp_ms, key, value, *read_header(headers))
            for offset, (key, value, timestamp_ms, headers) in enumerate((self._records[each] for each in log), base)
        ]

    def _is_claim(self, batch: int) -> bool:
        (raw, *_) = self._raw(self._batches[batch][:1], 0)
        return raw.header is not None and raw.header.kind is Kind.CLAIM

    def _do(self, seat: int, what: str, *given: Any) -> tuple[int, int, tuple[Answer, ...]]:
        """What one owner makes of something: its new seat, the batch that it sends (-1: none), and its answers."""
        remembered = self._done.get((seat, what, *given))
        if remembered is None:
            owner, waiting = loaded(self._seats[seat])
            batch, answers = self._act(owner, waiting, what, given)
            number = -1 if batch is None else self._batch(batch)
            remembered = self._done[seat, what, *given] = (self._seat(owner, waiting), number, tuple(answers))
        return remembered

    def _act(self, owner: Owner, waiting: deque[Submission], what: str, given: Any) -> tuple[Sequence[NewRecord] | None, Sequence[Answer]]:
        if what == "ask":
            (number,) = given
            wanted = self.script[number]
            waiting.append(Submission(FLAGS, wanted.stream, wanted.command, wanted.order, wanted.expected_version, number))
        elif what == "claim":
            read, count = given
            self._read(owner, read)
            return [owner.claim(command_id(f"{owner._address}{count}"), 0)], ()
        elif what == "group":
            group = owner.group(waiting, 0)
            return group.records or None, tuple(group.answers)
        elif what == "doubt":
            owner.doubt()
        elif what == "hear":
            read, landed, claim = given
            self._read(owner, read)
            answers: list[Answer] = []
            if claim:
                owner.settle(landed)
                resolved, again = owner.resolve()
                answers += resolved
                waiting.extendleft(reversed(again))
            else:
                answers += owner.confirm(landed)[0]
            if not owner.owns:
                answers += [Answer(submission, LogUnavailable("another owner")) for submission in waiting]
                waiting.clear()
            return None, answers
        return None, ()

    def _read(self, owner: Owner, read: Sequence[int]) -> None:
        if read:
            owner.judge(self._raw(read, owner.next_offset), owner.next_offset + len(read))

    def _batch(self, records: Sequence[NewRecord]) -> int:
        numbers = []
        for key, value, timestamp_ms, headers in records:
            record = (key, value, timestamp_ms, tuple(headers))
            if record not in self._known_records:
                self._known_records[record] = len(self._records)
                self._records.append(record)
            numbers.append(self._known_records[record])
        batch = tuple(numbers)
        if batch not in self._known_batches:
            self._known_batches[batch] = len(self._batches)
            self._batches.append(batch)
        return self._known_batches[batch]

    def _seat(self, owner: Owner, waiting: deque[Submission]) -> int:
        # Equal owners are equal bytes, whichever of their parts are the same object; but one that goes on needs them to be.
        data = dumped(owner, waiting, alike=True)
        if data not in self._known_seats:
            number = self._known_seats[data] = len(self._seats)
            self._seats.append(dumped(owner, waiting, alike=False))
            self._facts[number] = (owner.next_offset, owner.owns, bool(waiting), owner.under_way is not None)
        return self._known_seats[data]


def _put(items: tuple[Any, ...], at: int, item: Any) -> tuple[Any, ...]:
    return (*items[:at], item, *items[at + 1 :])
