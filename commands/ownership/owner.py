"""The owner of one partition as a pure state machine: it claims, decides groups of commands, and knows what is confirmed.

No I/O, no clock. Its shell reads and appends what it asks for, and reports what came back:

    claim → (append) → read up to the claim → settle
    group → (append) → confirm, when nobody came between; else read the gap, then confirm
                     → doubt, when the answer was anything but clean: then claim again, settle, resolve
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from commands.dispatch import LogUnavailable
from commands.ownership.groups import DEFAULT_LIMITS, Answer, Group, Limits, Submission, commit_id_of
from commands.ownership.streams import CannotOwn, Streams
from commands.ports import HistoryLost, NewRecord, Place
from events.admission import LAST_TERM, UNCLAIMED, Fence, Verdict, admit
from events.headers import Kind, RecordHeader
from events.ownership import PartitionClaimed, PartitionReleased
from events.recorded import EventId, Recorded
from events.records import RawRecord, write_headers
from events.registry import Fact, type_of
from events.streams import room_of

_KEPT_OFFSETS = 100


class Owner:
    """Who may write a partition, and what is known of it up to `next_offset`.

    `counts` says what was dropped on the way, `dropped` where the last of it lies; `superseded_at` where the last claim lies that
    ended one of ours, `superseded` where the last ones do. `hold` is told of commands that cannot be decided from memory yet.
    """

    def __init__(self, place: Place, streams: Streams, address: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self.place = place
        self.streams = streams
        self.next_offset = 0
        self.fence = UNCLAIMED
        self.counts: Counter[Verdict] = Counter()
        self.superseded_at: int | None = None
        self.superseded: deque[int] = deque(maxlen=_KEPT_OFFSETS)
        self.dropped: deque[tuple[int, Verdict]] = deque(maxlen=_KEPT_OFFSETS)
        self.hold: Callable[[Submission], None] = _nowhere
        self._address = address
        self._limits = limits
        self._mine: Fence | None = None
        self._claiming: Fence | None = None
        self._highest_term = 0
        self._timestamp_ms = 0
        self._commits = 0
        self._group: Group | None = None
        self._doubtful = False
        self._found_at: int | None = None

    @property
    def owns(self) -> bool:
        """Whether the last valid claim that was read is ours, and nothing of ours is in doubt."""
        return self._mine is not None and self.fence == self._mine and not self._doubtful

    @property
    def under_way(self) -> Group | None:
        """The batch that is not confirmed yet. There is never more than one."""
        return self._group

    @property
    def in_doubt(self) -> bool:
        """Whether a batch of ours has to be looked for in what is read next."""
        return self._doubtful

    def begin(self, offset: int, fence: Fence, timestamp_ms: int) -> None:
        """Know nothing but that the log goes on at `offset` under `fence`, after a record of that time. Not while we own or doubt."""
        if self._group is not None or self.owns or offset < self.next_offset:
            raise AssertionError(f"{self.place}: offset {offset} is no new beginning")
        self.next_offset, self.fence = offset, fence
        self._timestamp_ms = max(self._timestamp_ms, timestamp_ms)
        self.streams.begin(offset)

    def admissible(self, records: Sequence[RawRecord]) -> Iterator[RawRecord]:
        """Those of the next records that will be admitted when they are judged. Changes nothing."""
        fence = self.fence
        for raw in records:
            fence, verdict = admit(fence, raw.header)
            if verdict is Verdict.ADMITTED:
                yield raw

    def claim(self, claim_id: bytes, now_ms: int) -> NewRecord:
        """The record that claims the partition, one term above the highest known. `claim_id` is 16 random bytes.

        Raises CannotOwn for a partition that was closed for ever.
        """
        if self.fence.term >= LAST_TERM:
            raise CannotOwn(f"{self.place} is closed: its topic goes on in the next generation, with which a newer program writes")
        self._mine = None
        # A claim of ours that was never settled may still come to lie before this one.
        self._highest_term = max(self._highest_term, self.fence.term) + 1
        self._claiming = Fence(self._highest_term, claim_id)
        self._commits = 0
        return self._word(Kind.CLAIM, PartitionClaimed(address=self._address), self._claiming, claim_id, now_ms)

    def settle(self, offset: int) -> bool:
        """The claim lies at `offset` and everything before it was read. Whether it is valid: another may have come first."""
        claiming, self._claiming = self._claiming, None
        if offset < self.next_offset:
            raise HistoryLost(f"{self.place}: our claim was appended at offset {offset}, and {self.next_offset} was expected")
        if claiming is None or offset != self.next_offset:
            raise AssertionError(f"{self.place}: read to {self.next_offset}, the claim lies at {offset}")
        self.next_offset = offset + 1
        if claiming.term <= self.fence.term:
            self._drop(offset, Verdict.LOST_CLAIM)
            return False
        self.counts[Verdict.CLAIM] += 1
        self.fence = self._mine = claiming
        return True

    def judge(self, records: Sequence[RawRecord], reached: int) -> list[Recorded[Fact]]:
        """Fold what was read from `next_offset` up to `reached`; returns the admitted facts. Raises CannotOwn or HistoryLost."""
        told = []
        for raw in records:
            if raw.offset < self.next_offset:
                raise HistoryLost(f"{self.place}: offset {raw.offset} was read after {self.next_offset}")
            self.fence, verdict = admit(self.fence, raw.header)
            if verdict is Verdict.ADMITTED and raw.header is not None:
                self._recognise(raw, raw.header)
                fact = self.streams.fold(raw, raw.header, self.fence)
                if fact is not None:
                    told.append(fact)
                self._timestamp_ms = max(self._timestamp_ms, raw.timestamp_ms)
            elif verdict is Verdict.CLAIM:
                self.counts[verdict] += 1
                if self._mine is not None:
                    self.superseded_at = raw.offset
                    self.superseded.append(raw.offset)
            else:
                self._drop(raw.offset, verdict)
        self.next_offset = max(self.next_offset, reached)
        if self._group is None:
            self.streams.trim()
        return told

    def group(self, waiting: deque[Submission], now_ms: int) -> Group:
        """Decide waiting commands, as many as fit, and take them out of the queue. A group without records needs no append."""
        if self._group is not None or self._mine is None or not self.owns:
            raise AssertionError(f"{self.place}: a group is formed only by the owner, and after the last one was confirmed")
        timestamp_ms = max(now_ms, self._timestamp_ms)
        group = Group(self.place, self._mine, self.streams, self._limits, timestamp_ms=timestamp_ms, commits=self._commits)
        ready = self.streams.ready
        while waiting:
            submission = waiting[0]
            if not ready(submission.key, submission.order.command_id):
                self.hold(waiting.popleft())
                continue
            if not group.add(submission):
                break
            waiting.popleft()
        if group.entries and not group.records:
            group.barrier()
        self._commits = group.commits
        if group.records:
            self._group = group
        return group

    def confirm(self, base: int) -> tuple[list[Answer], list[Recorded[Fact]]]:
        """The batch lies at `base`, and everything before it was read. Answers its commands; unless the partition was lost meanwhile.

        Raises HistoryLost when the log is shorter than what was read of it.
        """
        if base < self.next_offset:
            raise HistoryLost(f"{self.place}: a batch was appended at offset {base}, and {self.next_offset} was expected")
        if base > self.next_offset:
            raise AssertionError(f"{self.place}: the gap from {self.next_offset} to {base} was not read")
        group = self._finished()
        if not self.owns:
            return _turned_away(group, "another owner has claimed the partition; try again"), []
        self.next_offset = base + len(group.records)
        self._timestamp_ms = group.timestamp_ms
        answered = group.confirm(base, folded=False)
        self.streams.trim()
        return answered

    def abandon(self, reason: str, retry_after_ms: int) -> list[Answer]:
        """The batch is certain not to be on the log, now or later."""
        return _turned_away(self._finished(), reason, retry_after_ms)

    def doubt(self) -> None:
        """Nobody knows whether the batch is, or comes to lie, on the log. Only a new claim settles it."""
        self._doubtful = self._group is not None
        self._found_at = None
        self._mine = None

    def resolve(self) -> tuple[list[Answer], list[Submission]]:
        """After a newer claim was read: answers of a batch that was found, or its commands, which are certain not to be there."""
        if not self._doubtful:
            return [], []
        group = self._finished()
        if self._found_at is None:
            return [], group.submissions
        answers, _ = group.confirm(self._found_at, folded=True)
        return answers, []

    def release(self, successor: str, now_ms: int) -> NewRecord:
        """The last word of an owner that stops. It writes nothing after it."""
        if self._mine is None or not self.owns:
            raise AssertionError(f"{self.place}: only the owner can release it")
        mine, self._mine = self._mine, None
        commit_id = commit_id_of(mine, self._commits + 1)
        return self._word(Kind.RELEASE, PartitionReleased(successor=successor), mine, commit_id, now_ms)

    def _drop(self, offset: int, verdict: Verdict) -> None:
        self.counts[verdict] += 1
        self.dropped.append((offset, verdict))

    def _finished(self) -> Group:
        group, self._group = self._group, None
        if group is None:
            raise AssertionError(f"{self.place}: there is no batch under way")
        self._doubtful = False
        return group

    def _recognise(self, raw: RawRecord, header: RecordHeader) -> None:
        if self._doubtful and self._group is not None:
            if header.commit_id == self._group.first_commit_id and header.index == 0:
                self._found_at = raw.offset
        elif self._mine is not None and self.fence == self._mine:
            raise HistoryLost(f"{self.place}: offset {raw.offset} carries our claim, and we did not write it")

    def _word(self, kind: Kind, word: PartitionClaimed | PartitionReleased, fence: Fence, commit_id: bytes, now_ms: int) -> NewRecord:
        self._timestamp_ms = max(self._timestamp_ms, now_ms)
        header = RecordHeader(kind=kind, term=fence.term, claim_id=fence.claim_id, commit_id=commit_id, occurred_at_us=now_ms * 1000)
        headers = write_headers(room_of(self.place.topic), type_of(word).ce_type, str(EventId(commit_id, 0)), header.pack())
        return NewRecord(b"", self.streams.codec.encode(word), self._timestamp_ms, headers)


def _nowhere(submission: Submission) -> None:
    raise AssertionError(f"{submission.stream} is not in memory, and nobody loads it")


def _turned_away(group: Group, reason: str, retry_after_ms: int = 500) -> list[Answer]:
    return [Answer(submission, LogUnavailable(reason, retry_after_ms)) for submission in group.submissions]
