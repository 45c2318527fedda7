"""Waiting commands decided together, against confirmed state and what the group itself brings about, into one batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from commands.dispatch import CommandIdReused, Committed, CommitTooLarge, ExpectedVersionMismatch, Order
from commands.ownership.remembering import Answered, pack_answered
from commands.ownership.streams import Streams
from commands.ports import BATCH_BYTES, NewRecord, Place
from events.admission import Fence
from events.headers import HEADER, LAYOUT, VERSION, ZERO_16, Kind, RecordHeader
from events.positions import Position
from events.recorded import EventId, Recorded
from events.records import CONTENT_TYPE, SPEC_VERSION, constant_headers, write_headers
from events.registry import EventType, Fact, type_of
from events.streams import StreamId, room_of

# As the named tuples' own constructors make them, in a third of the time.
_make = tuple.__new__
_pack = LAYOUT.pack
_EVENT, _RECEIPT = int(Kind.EVENT), int(Kind.RECEIPT)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# More than Kafka's framing and our headers ever take, without the parts counted by their length.
_ENVELOPE_BYTES = 256
_BATCH_HEADER_BYTES = 61

_REUSED = "this command id was used on this stream with another body; take a new id for another command"

Outcome: TypeAlias = Committed | Exception
Folded: TypeAlias = tuple[Decider[Any, Any, Any], Any, int]
"""A stream's decider, state and version."""


class Submission:
    """A command on its way to an answer. `ticket` is its bearer's own."""

    __slots__ = ("command", "decider", "expected_version", "key", "order", "stream", "ticket")

    def __init__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, expected_version: int | None, ticket: Any
    ) -> None:
        self.decider = decider
        self.stream = stream
        self.key = stream.key
        self.command = command
        self.order = order
        self.expected_version = expected_version
        self.ticket = ticket


class Answer(NamedTuple):
    """What a command's bearer is told."""

    submission: Submission
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A group is closed at `group_bytes` or `group_commands`; one command alone may fill a batch."""

    group_bytes: int = 256 << 10
    group_commands: int = 512
    batch_bytes: int = BATCH_BYTES


DEFAULT_LIMITS = Limits()


class Accepted(NamedTuple):
    """A command whose records are in the batch, from `first` on: its facts, or a receipt when it changed nothing."""

    submission: Submission
    facts: tuple[Fact, ...]
    first: int
    version: int
    commit_id: bytes


class Repeated(NamedTuple):
    """The same command under the same id as one before it in the group."""

    submission: Submission
    first: Accepted


class Declined(NamedTuple):
    """A refusal or conflict: true if the batch is confirmed, for then nobody else had decided anything before it."""

    submission: Submission
    reason: Exception


Entry: TypeAlias = Accepted | Repeated | Declined


class Group:
    """One batch in the making. Nothing outside changes until it is confirmed, so dropping it rolls it back.

    `answers` need no confirmation. `commits` counts the claim's commits: with the claim it makes their ids.
    """

    def __init__(self, place: Place, fence: Fence, streams: Streams, limits: Limits, *, timestamp_ms: int, commits: int) -> None:
        self.fence = fence
        self.timestamp_ms = timestamp_ms
        self.commits = commits
        self.first_commit_id = ZERO_16
        self.records: list[NewRecord] = []
        self.entries: list[Entry] = []
        self.answers: list[Answer] = []
        self._place = place
        self._streams = streams
        self._limits = limits
        self._bytes = _BATCH_HEADER_BYTES
        self._states: dict[bytes, Folded] = {}
        self._commands: dict[tuple[bytes, bytes], Accepted] = {}
        self._kinds: dict[type, EventType] = {}
        self._commit_prefix = fence.claim_id[:10]

    @property
    def kinds(self) -> set[EventType]:
        """The kinds of its facts, whose schemas must be on the log before them."""
        return set(self._kinds.values())

    @property
    def submissions(self) -> list[Submission]:
        """The commands that wait for the batch, in the order of their arrival."""
        return [entry.submission for entry in self.entries]

    def add(self, submission: Submission) -> bool:  # noqa: PLR0915 - each call would cost a hundredth of a commit
        """Decide a command. False: it is for the next group, for this one is full."""
        if len(self.entries) >= self._limits.group_commands:
            return False
        key, command_id, decider = submission.key, submission.order.command_id, submission.decider
        stream = self._streams.get(key)
        if stream is not None and command_id in stream.answered:
            self._repeat_confirmed(submission, Answered.unpack(stream.answered[command_id]))
            return True
        earlier = self._commands.get((key, command_id))
        if earlier is not None:
            self._repeat_waiting(submission, earlier)
            return True
        folded = self._states.get(key)
        if folded is not None:
            _, state, version = folded
        elif stream is not None:
            state, version = stream.state, stream.version
        else:
            state, version = decider.initial, 0
        expected = submission.expected_version
        passed = None if expected is None or expected == version else ExpectedVersionMismatch(expected, version)
        try:
            facts = tuple(decider.decide(submission.command, state))
            if passed is not None:
                self.entries.append(Declined(submission, passed))
                return True
            for fact in facts:
                state = decider.evolve(state, fact)
            commit_id = self._commit_prefix + (self.commits + 1).to_bytes(6, "big")
            records, size = self._encoded(submission, facts, version, commit_id)
        except CommandRefused as refusal:
            # Of what is not there no version is expected (RFC 9110, section 13.2.1); every other refusal may be of what has passed.
            self.entries.append(Declined(submission, refusal if passed is None or isinstance(refusal, NotFound) else passed))
            return True
        # A decider's bug is its caller's, who crashes with it; never that of the other streams on the partition.
        except Exception as bug:  # noqa: BLE001
            self.answers.append(Answer(submission, bug))
            return True
        if self._bytes + size > (self._limits.group_bytes if self.records else self._limits.batch_bytes):
            if self.records:
                return False
            self.answers.append(_too_large(submission, facts))
            return True
        version += len(facts)
        accepted = _make(Accepted, (submission, facts, len(self.records), version, commit_id))
        self._states[key] = (decider, state, version)
        self._commands[key, command_id] = accepted
        self.entries.append(accepted)
        if not self.records:
            self.first_commit_id = commit_id
        self.records += records
        self.commits += 1
        self._bytes += size
        return True

    def barrier(self) -> None:
        """A record that says nothing: its confirmation confirms the owner, and so what was declined."""
        self.commits += 1
        self.first_commit_id = commit_id = commit_id_of(self.fence, self.commits)
        packed = RecordHeader(kind=Kind.BARRIER, term=self.fence.term, claim_id=self.fence.claim_id, commit_id=commit_id).pack()
        headers = write_headers(room_of(self._place.topic), "barrier", str(EventId(commit_id, 0)), packed)
        self.records.append(NewRecord(b"", b"", self.timestamp_ms, headers))

    def confirm(self, base: int, *, folded: bool) -> tuple[list[Answer], list[Recorded[Fact]]]:
        """The batch lies on the log from offset `base` on, admitted: what its commands' bearers and the facts' watchers are told.

        `folded`: it was read back, and the streams know of it as of any other record.
        """
        answers: list[Answer] = []
        told: list[Recorded[Fact]] = []
        remembered: list[tuple[bytes, bytes, int, bytes]] = []
        appended_at = _EPOCH + timedelta(milliseconds=self.timestamp_ms)
        fence, place = self.fence, tuple(self._place)
        for entry in self.entries:
            if isinstance(entry, Accepted):
                submission, _, first, version, _ = entry
                facts = self._recorded(entry, base, appended_at)
                told += facts
                position = facts[-1].position if facts else _make(Position, (*place, base + first, fence))
                answers.append(_make(Answer, (submission, _make(Committed, (position, version, facts, False)))))
                order = submission.order
                offset = position.offset
                remembered.append((submission.key, order.command_id, offset, pack_answered(order.digest, offset, version, fence)))
            elif isinstance(entry, Declined):
                answers.append(Answer(*entry))
            elif isinstance(entry, Repeated):
                # Answered below, when the first one's answer is known.
                answers.append(Answer(entry.submission, CommandIdReused(_REUSED)))
            else:
                assert_never(entry)
        if len(remembered) < len(self.entries):
            self._answer_repeats(answers)
        if not folded:
            self._streams.commit(self._states, remembered)
        return answers, told

    def _answer_repeats(self, answers: list[Answer]) -> None:
        outcomes = {id(answer.submission): answer.outcome for answer in answers}
        for at, entry in enumerate(self.entries):
            if isinstance(entry, Repeated):
                same = outcomes[id(entry.first.submission)]
                answers[at] = Answer(entry.submission, same._replace(repeated=True) if isinstance(same, Committed) else same)

    def _repeat_confirmed(self, submission: Submission, answered: Answered) -> None:
        # What was confirmed once stays so, whoever owns the partition now.
        if answered.digest != submission.order.digest:
            self.answers.append(Answer(submission, CommandIdReused(_REUSED)))
            return
        position = Position(*self._place, answered.offset, answered.fence)
        self.answers.append(Answer(submission, Committed(position=position, version=answered.version, facts=(), repeated=True)))

    def _repeat_waiting(self, submission: Submission, earlier: Accepted) -> None:
        same = earlier.submission.order.digest == submission.order.digest
        self.entries.append(Repeated(submission, earlier) if same else Declined(submission, CommandIdReused(_REUSED)))

    def _encoded(self, submission: Submission, facts: tuple[Fact, ...], version: int, commit_id: bytes) -> tuple[list[NewRecord], int]:
        order, (term, claim_id), key, room, count = submission.order, self.fence, submission.key, submission.decider.room, len(facts) or 1
        name, encode, timestamp_ms, kinds = commit_id.hex(), self._streams.codec.encode, self.timestamp_ms, self._kinds
        cause_id, cause_index = (ZERO_16, 0) if order.causation is None else order.causation
        since = order.occurred_at - _EPOCH
        occurred_at_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        actor = order.actor.encode()
        if len(actor) > 255:
            raise ValueError("an actor's name may have 255 bytes")
        records: list[NewRecord] = []
        size = count * (_ENVELOPE_BYTES + len(key))
        for index in range(count):
            if facts:
                fact = facts[index]
                declared = kinds.get(fact.__class__) or kinds.setdefault(fact.__class__, type_of(fact))
                kind, at_version, value, ce_type = _EVENT, version + index + 1, encode(fact), declared.ce_type
            else:
                kind, at_version, value, ce_type = _RECEIPT, version, b"", "receipt"
            packed = _pack(
                VERSION, kind, term, claim_id, at_version, commit_id, index, count, order.command_id, order.digest, occurred_at_us,
                cause_id, cause_index, order.correlation_id, order.trace_id, order.span_id, order.depth, len(actor),
            ) + actor  # fmt: skip
            # As write_headers orders them.
            named, sourced = constant_headers(room, ce_type)
            headers = [named, SPEC_VERSION, ("ce_id", f"{name}-{index}".encode()), sourced, CONTENT_TYPE, (HEADER, packed)]
            records.append(_make(NewRecord, (key, value, timestamp_ms, headers)))
            size += len(value) + len(packed)
        return records, size

    def _recorded(self, entry: Accepted, base: int, appended_at: datetime) -> tuple[Recorded[Fact], ...]:
        submission, facts, first, version, commit_id = entry
        order, stream, (topic, partition), fence, count = submission.order, submission.stream, self._place, self.fence, len(facts)
        told, offset, at_version = [], base + first, version - count
        for index, fact in enumerate(facts):
            position = _make(Position, (topic, partition, offset + index, fence))
            told.append(_make(Recorded, (
                fact, stream, at_version + index + 1, position, _make(EventId, (commit_id, index)), count, order.command_id,
                order.occurred_at, appended_at, order.causation, order.correlation_id, order.depth, order.actor,
            )))  # fmt: skip
        return tuple(told)


def _too_large(submission: Submission, facts: Sequence[Fact]) -> Answer:
    return Answer(submission, CommitTooLarge(f"{len(facts)} facts of one command do not fit a batch; send fewer"))


def commit_id_of(claim: Fence, commits: int) -> bytes:
    """Unique, for claims are drawn at random and a claim counts its commits."""
    return claim.claim_id[:10] + commits.to_bytes(6, "big")
