"""Waiting commands decided together, against confirmed state and what the group itself brings about, into one batch."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias, assert_never

from commands.decider import CommandRefused, Decider
from commands.dispatch import CommandIdReused, Committed, CommitTooLarge, ExpectedVersionMismatch, Order
from commands.owner_streams import Answered, Streams
from commands.ports import BATCH_BYTES, NewRecord, Place
from events.admission import Fence
from events.headers import ZERO_16, Kind, RecordHeader, pack
from events.positions import Position
from events.recorded import EventId, Recorded
from events.records import write_headers
from events.registry import EventType, Fact, type_of
from events.streams import StreamId, room_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# More than Kafka's framing and our headers ever take, without the parts counted by their length.
_ENVELOPE_BYTES = 384
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


@dataclass(frozen=True, slots=True)
class Accepted:
    """A command whose records are in the batch, from `first` on: its facts, or a receipt when it changed nothing."""

    submission: Submission
    facts: tuple[Fact, ...]
    first: int
    version: int
    commit_id: bytes


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same command under the same id as one before it in the group."""

    submission: Submission
    first: Accepted


@dataclass(frozen=True, slots=True)
class Declined:
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
        self.kinds: set[EventType] = set()
        self._place = place
        self._streams = streams
        self._limits = limits
        self._bytes = _BATCH_HEADER_BYTES
        self._states: dict[bytes, Folded] = {}
        self._commands: dict[tuple[bytes, bytes], Accepted] = {}

    def add(self, submission: Submission) -> bool:
        """Decide a command. False: it is for the next group, for this one is full."""
        if len(self.entries) >= self._limits.group_commands:
            return False
        if self._is_known(submission):
            return True
        decider = submission.decider
        _, state, version = self._folded(submission)
        expected = submission.expected_version
        if expected is not None and expected != version:
            self.entries.append(Declined(submission, ExpectedVersionMismatch(expected, version)))
            return True
        try:
            facts = tuple(decider.decide(submission.command, state))
            for fact in facts:
                state = decider.evolve(state, fact)
            records, size = self._encoded(submission, facts, version)
        except CommandRefused as refusal:
            self.entries.append(Declined(submission, refusal))
            return True
        # A decider's bug is its caller's, who crashes with it; never that of the other streams on the partition.
        except Exception as bug:  # noqa: BLE001
            self.answers.append(Answer(submission, bug))
            return True
        if self._bytes + size > (self._limits.group_bytes if self.records else self._limits.batch_bytes):
            if self.records:
                return False
            self.answers.append(Answer(submission, CommitTooLarge(f"{len(facts)} facts of one command do not fit a batch; send fewer")))
            return True
        self._take(submission, facts, records, (decider, state, version + len(facts)))
        self._bytes += size
        return True

    def barrier(self) -> None:
        """A record that says nothing: its confirmation confirms the owner, and so what was declined."""
        self.commits += 1
        self.first_commit_id = commit_id = commit_id_of(self.fence, self.commits)
        packed = RecordHeader(kind=Kind.BARRIER, term=self.fence.term, claim_id=self.fence.claim_id, commit_id=commit_id).pack()
        headers = write_headers(room_of(self._place.topic), "barrier", str(EventId(commit_id, 0)), packed)
        self.records.append(NewRecord(b"", b"", self.timestamp_ms, headers))

    def confirm(self, base: int) -> tuple[list[Answer], list[Recorded[Fact]]]:
        """The batch lies on the log from offset `base` on, admitted: what its commands' bearers and the facts' watchers are told."""
        answers: list[Answer] = []
        told: list[Recorded[Fact]] = []
        committed: dict[bytes, Committed] = {}
        appended_at = _EPOCH + timedelta(milliseconds=self.timestamp_ms)
        for entry in self.entries:
            match entry:
                case Accepted():
                    facts = self._recorded(entry, base, appended_at)
                    told.extend(facts)
                    last = base + entry.first + max(len(facts) - 1, 0)
                    position = Position(*self._place, last, self.fence)
                    outcome = committed[entry.commit_id] = Committed(position=position, version=entry.version, facts=facts)
                    answers.append(Answer(entry.submission, outcome))
                case Repeated():
                    answers.append(Answer(entry.submission, replace(committed[entry.first.commit_id], repeated=True)))
                case Declined():
                    answers.append(Answer(entry.submission, entry.reason))
                case _:
                    assert_never(entry)
        return answers, told

    def commit(self, base: int) -> None:
        """Let the confirmed streams know. Not for a batch that was read back: it was folded as any other record."""
        answered = (
            (
                entry.submission.key,
                entry.submission.order.command_id,
                Answered(entry.submission.order.digest, base + entry.first + max(len(entry.facts) - 1, 0), entry.version, self.fence),
            )
            for entry in self._commands.values()
        )
        self._streams.commit(self._states, answered)

    @property
    def submissions(self) -> list[Submission]:
        """The commands that wait for the batch, in the order of their arrival."""
        return [entry.submission for entry in self.entries]

    def _is_known(self, submission: Submission) -> bool:
        command_id, digest = submission.order.command_id, submission.order.digest
        stream = self._streams.get(submission.key)
        answered = None if stream is None else stream.answered.get(command_id)
        if answered is not None:
            # What was confirmed once stays so, whoever owns the partition now.
            position = Position(*self._place, answered.offset, answered.fence)
            repeat = Committed(position=position, version=answered.version, facts=(), repeated=True)
            self.answers.append(Answer(submission, repeat if answered.digest == digest else CommandIdReused(_REUSED)))
            return True
        earlier = self._commands.get((submission.key, command_id))
        if earlier is not None:
            same = earlier.submission.order.digest == digest
            self.entries.append(Repeated(submission, earlier) if same else Declined(submission, CommandIdReused(_REUSED)))
            return True
        return False

    def _folded(self, submission: Submission) -> Folded:
        speculative = self._states.get(submission.key)
        if speculative is not None:
            return speculative
        stream = self._streams.get(submission.key)
        if stream is not None:
            return submission.decider, stream.state, stream.version
        return submission.decider, submission.decider.initial, 0

    def _encoded(self, submission: Submission, facts: tuple[Fact, ...], version: int) -> tuple[list[NewRecord], int]:
        order, fence, key = submission.order, self.fence, submission.key
        commit_id = commit_id_of(self.fence, self.commits + 1)
        name = commit_id.hex()
        room = submission.decider.room
        actor = order.actor.encode()
        cause = order.causation
        causation_id, causation_index = (ZERO_16, 0) if cause is None else (cause.commit_id, cause.index)
        since = order.occurred_at - _EPOCH
        occurred_at_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        count = len(facts) or 1
        records, size = [], 0
        for index in range(count):
            if facts:
                kind, at_version, value, ce_type = (
                    Kind.EVENT,
                    version + index + 1,
                    self._streams.codec.encode(facts[index]),
                    type_of(facts[index]).ce_type,
                )
            else:
                kind, at_version, value, ce_type = Kind.RECEIPT, version, b"", "receipt"
            packed = pack(
                kind, fence.term, fence.claim_id, at_version, commit_id, index, count, order.command_id, order.digest, occurred_at_us,
                causation_id, causation_index, order.correlation_id, order.trace_id, order.span_id, order.depth, actor,
            )  # fmt: skip
            records.append(NewRecord(key, value, self.timestamp_ms, write_headers(room, ce_type, f"{name}-{index}", packed)))
            size += _ENVELOPE_BYTES + len(key) + len(value) + len(packed)
        return records, size

    def _take(self, submission: Submission, facts: tuple[Fact, ...], records: list[NewRecord], folded: Folded) -> None:
        self.commits += 1
        commit_id = commit_id_of(self.fence, self.commits)
        if not self.records:
            self.first_commit_id = commit_id
        accepted = Accepted(submission, facts, len(self.records), folded[2], commit_id)
        self.entries.append(accepted)
        self._commands[submission.key, submission.order.command_id] = accepted
        self._states[submission.key] = folded
        self.records.extend(records)
        self.kinds.update(map(type_of, facts))

    def _recorded(self, entry: Accepted, base: int, appended_at: datetime) -> tuple[Recorded[Fact], ...]:
        order, count = entry.submission.order, len(entry.facts)
        topic, partition = self._place
        return tuple(
            Recorded(
                fact=fact,
                stream=entry.submission.stream,
                version=entry.version - count + index + 1,
                position=Position(topic, partition, base + entry.first + index, self.fence),
                event_id=EventId(entry.commit_id, index),
                count=count,
                command_id=order.command_id,
                occurred_at=order.occurred_at,
                appended_at=appended_at,
                causation=order.causation,
                correlation_id=order.correlation_id,
                depth=order.depth,
                actor=order.actor,
            )
            for index, fact in enumerate(entry.facts)
        )


def commit_id_of(claim: Fence, commits: int) -> bytes:
    """Unique, for claims are drawn at random and a claim counts its commits."""
    return claim.claim_id[:10] + commits.to_bytes(6, "big")
