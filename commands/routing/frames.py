"""What owners of several processes say to each other, as bytes, without the framing of whatever carries it.

Every request begins with layout (1), kind (1) and the address that it is meant for; every answer with layout and kind. A text is
its length (2) and UTF-8. Numbers are big-endian.
"""

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, assert_never

from commands.dispatch import Committed
from commands.ports import Claim, Place
from events.admission import Fence
from events.codec import Codec
from events.headers import ZERO_16, Kind, RecordHeader
from events.positions import Position
from events.recorded import EventId, Recorded
from events.records import RawRecord, recorded
from events.registry import Fact

LAYOUT = 1
_U16, _U32, _U64, _I64 = struct.Struct(">H"), struct.Struct(">I"), struct.Struct(">Q"), struct.Struct(">q")
_COMMAND = struct.Struct(">IQq")
_CLAIM = struct.Struct(">Q16sq")
_COMMITTED = struct.Struct(">QQ16sQB")
_FACT = struct.Struct(">Qq")


class BrokenFrame(ValueError):
    """The bytes are no request or answer, or of another layout; the text says what to do."""


class Carry(NamedTuple):
    """Decide this command, for you hold the partition by the claim of this `term`. `within_ms`: how long its bearer waits."""

    to: str
    within_ms: int
    term: int
    expected_version: int | None
    key: bytes
    order: bytes
    command: bytes


class Look(NamedTuple):
    """Are you alive, and who you were?"""

    to: str


class TakeOver(NamedTuple):
    """I have released this partition, of which I had the claim with this term: claim it."""

    to: str
    place: Place
    term: int


class AskStanding(NamedTuple):
    """How far do you know this partition?"""

    to: str
    place: Place


class Prepare(NamedTuple):
    """I shall release this partition to you: read it up to its end now."""

    to: str
    place: Place


Request: TypeAlias = Carry | Look | TakeOver | AskStanding | Prepare


class Done(NamedTuple):
    """The commit, as `encode_committed` made it."""

    committed: bytes


class Raised(NamedTuple):
    """What the command ended with, as `raised.encode_raised` made it."""

    error: bytes


class Moved(NamedTuple):
    """Not mine: this is the newest claim that I know."""

    claim: Claim


class Alive(NamedTuple):
    """Yes. Anybody who was meant by another address is dead."""

    address: str


class Taken(NamedTuple):
    """The partition is mine by this claim."""

    claim: Claim


class Standing(NamedTuple):
    """Everything before `next_offset` was read, and the claim in force there is `fence`."""

    next_offset: int
    fence: Fence


class NotUnderstood(NamedTuple):
    """The request could not be read; `text` says why and what to do."""

    text: str


Answer: TypeAlias = Done | Raised | Moved | Alive | Taken | Standing | NotUnderstood
_REQUESTS: tuple[type, ...] = (Carry, Look, TakeOver, AskStanding, Prepare)
_ANSWERS: tuple[type, ...] = (Done, Raised, Moved, Alive, Taken, Standing, NotUnderstood)


def encode_request(request: Request) -> bytes:
    """Raises BrokenFrame for a text over 65,535 bytes."""
    head = bytes((LAYOUT, _REQUESTS.index(type(request)))) + _text(request.to.encode())
    if isinstance(request, Carry):
        _, within_ms, term, expected, key, order, command = request
        return b"".join((head, _COMMAND.pack(within_ms, term, -1 if expected is None else expected), _text(key), _text(order), command))
    if isinstance(request, TakeOver):
        return head + _place(request.place) + _U64.pack(request.term)
    if isinstance(request, AskStanding | Prepare):
        return head + _place(request.place)
    if isinstance(request, Look):
        return head
    assert_never(request)


def decode_request(data: bytes) -> Request:
    """Raises BrokenFrame."""
    kind, cut = _opened(data, _REQUESTS)
    try:
        to = cut.text().decode()
        if kind is Carry:
            within_ms, term, expected = cut.fields(_COMMAND)
            return Carry(to, within_ms, term, None if expected < 0 else expected, cut.text(), cut.text(), cut.rest())
        if kind is TakeOver:
            return TakeOver(to, cut.place(), cut.fields(_U64)[0])
        if kind is Look:
            return Look(to)
        return AskStanding(to, cut.place()) if kind is AskStanding else Prepare(to, cut.place())
    except (struct.error, UnicodeDecodeError) as cause:
        raise BrokenFrame(f"a request of another process is cut short: {cause}") from cause


def encode_answer(answer: Answer) -> bytes:
    """Raises BrokenFrame for a text over 65,535 bytes."""
    head = bytes((LAYOUT, _ANSWERS.index(type(answer))))
    if isinstance(answer, Done | Raised):
        return head + answer[0]
    if isinstance(answer, Moved | Taken):
        term, claim_id, address, offset = answer.claim
        return head + _CLAIM.pack(term, claim_id, offset) + _text(address.encode())
    if isinstance(answer, Alive | NotUnderstood):
        return head + _text(answer[0].encode())
    if isinstance(answer, Standing):
        return head + _U64.pack(answer.next_offset) + _CLAIM.pack(*answer.fence, 0)
    assert_never(answer)


def decode_answer(data: bytes) -> Answer:
    """Raises BrokenFrame."""
    kind, cut = _opened(data, _ANSWERS)
    try:
        if kind is Done:
            return Done(cut.rest())
        if kind is Raised:
            return Raised(cut.rest())
        if kind in {Moved, Taken}:
            term, claim_id, offset = cut.fields(_CLAIM)
            claim = Claim(term, claim_id, cut.text().decode(), offset)
            return Moved(claim) if kind is Moved else Taken(claim)
        if kind is Standing:
            (next_offset,), (term, claim_id, _) = cut.fields(_U64), cut.fields(_CLAIM)
            return Standing(next_offset, Fence(term, claim_id))
        text = cut.text().decode()
        return Alive(text) if kind is Alive else NotUnderstood(text)
    except (struct.error, UnicodeDecodeError) as cause:
        raise BrokenFrame(f"an answer of another process is cut short: {cause}") from cause


def encode_committed(committed: Committed, codec: Codec) -> bytes:
    """The commit with its facts, each with the header that it has on the log."""
    (topic, partition, offset, fence), version, facts, repeated = committed
    parts = [_place(Place(topic, partition)), _COMMITTED.pack(offset, fence.term, fence.claim_id, version, repeated), _U16.pack(len(facts))]
    for fact in facts:
        value = codec.encode(fact.fact)
        appended_ms = round(fact.appended_at.timestamp() * 1000)
        parts += (_FACT.pack(fact.position.offset, appended_ms), _text(_header_of(fact).pack()), _U32.pack(len(value)), value)
    return b"".join(parts)


def decode_committed(data: bytes, key: bytes, codec: Codec) -> Committed:
    """Raises BrokenFrame, and what Codec.decode raises for a fact that this program does not know."""
    cut = _Cut(data, 0)
    try:
        place = cut.place()
        offset, term, claim_id, version, repeated = cut.fields(_COMMITTED)
        (count,) = cut.fields(_U16)
        facts = []
        for _ in range(count):
            at, appended_ms = cut.fields(_FACT)
            header = RecordHeader.unpack(cut.text())
            facts.append(recorded(RawRecord(*place, at, appended_ms, key, cut.take(cut.fields(_U32)[0]), "", header), codec))
        return Committed(Position(*place, offset, Fence(term, claim_id)), version, tuple(facts), bool(repeated))
    except struct.error as cause:
        raise BrokenFrame(f"a commit of another process is cut short: {cause}") from cause


def _header_of(fact: Recorded[Fact]) -> RecordHeader:
    commit_id, index = fact.event_id
    cause = fact.causation or EventId(ZERO_16, 0)
    return RecordHeader(
        kind=Kind.EVENT, term=fact.position.fence.term, claim_id=fact.position.fence.claim_id, version=fact.version, commit_id=commit_id,
        index=index, count=fact.count, command_id=fact.command_id, occurred_at_us=round(fact.occurred_at.timestamp() * 1_000_000),
        causation_id=cause.commit_id, causation_index=cause.index, correlation_id=fact.correlation_id, depth=fact.depth, actor=fact.actor,
    )  # fmt: skip


def _text(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise BrokenFrame(f"{len(data)} bytes do not fit where 65,535 may stand")
    return _U16.pack(len(data)) + data


def _place(place: Place) -> bytes:
    return _text(place.topic.encode()) + _U32.pack(place.partition)


def _opened(data: bytes, kinds: tuple[type, ...]) -> tuple[type, "_Cut"]:
    if len(data) < 2:
        raise BrokenFrame(f"{len(data)} bytes are no word of another process")
    if data[0] != LAYOUT or data[1] >= len(kinds):
        raise BrokenFrame(
            f"layout {data[0]}, kind {data[1]}: this process speaks layout {LAYOUT}; run one version of the program everywhere"
        )
    return kinds[data[1]], _Cut(data, 2)


@dataclass(slots=True)
class _Cut:
    """Takes bytes apart from the left. Raises struct.error at their end."""

    data: bytes
    at: int

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        found: tuple[Any, ...] = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return found

    def take(self, length: int) -> bytes:
        if self.at + length > len(self.data):
            raise struct.error(f"{length} bytes are wanted at {self.at} of {len(self.data)}")
        taken = self.data[self.at : self.at + length]
        self.at += length
        return taken

    def text(self) -> bytes:
        return self.take(self.fields(_U16)[0])

    def place(self) -> Place:
        topic = self.text().decode()
        return Place(topic, self.fields(_U32)[0])

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)
