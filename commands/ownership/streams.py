"""The streams of one partition as the log confirms them: the ones in use loaded, of the others only what no journal may have yet.

`horizon`: every record of the partition from there on is in memory, folded into its stream or, for a stream that is not loaded, in
the tail. So a stream is loaded rightly from any source that holds everything before the horizon. At horizon 0 nothing is elsewhere:
a stream that is not here does not exist; nor beyond it, where `names` has all that were ever here, and not this one. Memory is kept
within bounds by forgetting, which raises the horizon.
"""

from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping
from typing import Any

from commands.decider import Decider
from commands.ownership.memory import Memory, Room
from commands.ownership.naming import Names
from commands.ownership.remembering import WINDOW, Tags, pack_answered, shortened
from commands.ownership.tail import Tail
from events.admission import Fence
from events.codec import BrokenBody, Codec
from events.headers import Kind, RecordHeader
from events.recorded import Recorded
from events.records import RawRecord, recorded
from events.registry import Fact, UnknownEvent
from events.streams import InvalidStreamName

# Looked at in one go when room is made, so that a commit costs the same however many streams there are.
_LOOKS = 64
_CLEARED = 1_000
_NEVER = 1 << 62


class CannotOwn(Exception):
    """The partition holds what this program does not understand; to decide on half a history would be wrong. A newer program may."""


class NotUnderstood(CannotOwn):
    """A kind of stream or of fact that only a newer program knows."""


class Stream:
    """One stream's confirmed state. `answered` has the last commands' answers by their id, packed; `older` tags of those before them.

    `last_offset` is that of its last event or receipt, `snapped` the version that its last snapshot holds. `waits`: a command of
    its is being looked up, and all others behind it.
    """

    __slots__ = ("answered", "last_offset", "older", "snapped", "state", "used", "version", "waits")

    def __init__(self, state: Any) -> None:
        self.state = state
        self.version = 0
        self.answered: dict[bytes, bytes] = {}
        self.older: Tags | None = None
        self.last_offset = -1
        self.snapped = 0
        self.used = True
        self.waits = False


class Streams:
    """Folds admitted records. Knows nothing of what was not confirmed.

    `evicted` counts streams that were forgotten, `loads` those that came into memory, by where from. `journaled`: the journal is
    known to hold everything before it. `due`: streams that grew by `snapshot_every` versions since their last snapshot. `over`: those
    of which their deciders say that they are, in the order in which they ended. `awaited`: those whose commands were set aside; no
    later one may pass them.
    """

    def __init__(self, deciders: Mapping[str, Decider[Any, Any, Any]], codec: Codec, room: Room | None = None) -> None:
        self.codec = codec
        self.horizon = self.journaled = 0
        self.evicted = self.remembered = 0
        self.loads, self.snapshots = Counter[str](), Counter[str]()
        self.due, self.over = dict[bytes, None](), dict[bytes, None]()
        self.awaited: Container[bytes] = ()
        self.snapshot_every = _NEVER
        self.room = room or Room()
        self.names = Names(self.room)
        self.deciders = deciders
        self._by_key: dict[bytes, Stream] = {}
        # Second chance: whoever was used since it was last looked at goes to the end of the ring.
        self._ring: deque[bytes] = deque()
        self._entered = 0
        self._tail = Tail()
        # Commands that were looked up and found to be new, until they are decided; the oldest go first.
        self._cleared: dict[tuple[bytes, bytes], None] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: bytes) -> Stream | None:
        return self._by_key.get(key)

    @property
    def memory(self) -> Memory:
        """How it stands, for people and metrics."""
        here, names, counts = len(self._by_key), self.names.count, (Counter(self.loads), Counter(self.snapshots))
        return Memory(here, self.remembered, self.tail_records, self.horizon, self.evicted, names, *counts)

    @property
    def tail_records(self) -> int:
        """How many records of streams that are not loaded are here."""
        return self._tail.records

    def begin(self, offset: int) -> None:
        """Forget everything: what lies before `offset` is elsewhere, and reading goes on there."""
        self.horizon = self.journaled = offset
        self.room.streams -= len(self._by_key)
        self._remember(-self.remembered)
        self.names.clear()
        self.names, self._tail = Names(self.room, offset), Tail()
        for held in (self._by_key, self._ring, self._cleared, self.due, self.over):
            held.clear()

    def ready(self, key: bytes, command_id: bytes) -> bool:
        """Whether a command can be decided from memory; else its stream has to be loaded, or the command looked up, first."""
        stream = self._by_key.get(key)
        if stream is None:
            return self.horizon == 0 or (self.is_new(key) and key not in self.awaited)
        stream.used = True
        if stream.waits:
            return False
        return stream.older is None or not self.in_question(key, command_id)

    def is_new(self, key: bytes) -> bool:
        """Whether it is certain that a stream that is not loaded has never been, so that there is nothing to load."""
        return self.names.whole and key not in self.names and key not in self._tail

    def in_question(self, key: bytes, command_id: bytes) -> bool:
        """Whether a loaded stream may have taken this command so long ago that only the journal knows its answer."""
        stream = self._by_key.get(key)
        if stream is None or stream.older is None or command_id in stream.answered or not stream.older.may_hold(command_id):
            return False
        return (key, command_id) not in self._cleared

    def minted(self, key: bytes) -> None:
        """A stream whose name was drawn here just now: nothing before this moment can be about it, so it need not be loaded."""
        decider = self.deciders.get(category_of(key))
        if decider is not None and key not in self._by_key and key not in self._tail:
            self.loads["minted"] += 1
            self._enter(key, Stream(decider.initial))

    def fold(self, raw: RawRecord, header: RecordHeader, fence: Fence) -> Recorded[Fact] | None:
        """Take a record as it was read, admitted under `fence`; returns its fact when it carries one. Raises CannotOwn."""
        if header.kind is not Kind.EVENT and header.kind is not Kind.RECEIPT:
            return None
        stream = self._by_key.get(raw.key)
        if stream is None and self.horizon == 0:
            stream = self._enter(raw.key, self.blank(raw.key))
        if stream is not None:
            before = len(stream.answered)
            fact = self.take(stream, raw, header, fence)
            self._remember(len(stream.answered) - before)
            return fact
        self.blank(raw.key)
        fact = self._fact(raw) if header.kind is Kind.EVENT else None
        self._tail.add(raw)
        self._shorten_tail()
        return fact

    def blank(self, key: bytes) -> Stream:
        """The stream before anything happened, not loaded yet. Raises NotUnderstood for a kind of stream that nobody decides about."""
        decider = self.deciders.get(category_of(key))
        if decider is None:
            raise NotUnderstood(f"{key!r} is a kind of stream that is not known")
        return Stream(decider.initial)

    def take(self, stream: Stream, raw: RawRecord, header: RecordHeader, fence: Fence) -> Recorded[Fact] | None:
        """Fold one admitted event or receipt into its stream, loaded or about to be. Raises CannotOwn."""
        fact = None
        if header.kind is Kind.EVENT:
            fact = self._fact(raw)
            if header.version != stream.version + 1:
                raise CannotOwn(f"{raw.topic}/{raw.partition}/{raw.offset} has version {header.version} after version {stream.version}")
            stream.state = self.deciders[category_of(raw.key)].evolve(stream.state, fact.fact)
            stream.version = header.version
        # A command's last record overwrites the ones before it: its answer is where all of it can be read.
        stream.answered[header.command_id] = pack_answered(header.digest, raw.offset, header.version, fence)
        stream.last_offset = raw.offset
        if len(stream.answered) >= 2 * WINDOW:
            stream.answered, stream.older = shortened(stream.answered, stream.older)
        return fact

    def install(self, key: bytes, stream: Stream, reached: int, source: str) -> bool:
        """Load a stream that was folded from everything before `reached`, with what came since.

        False: what lies between was forgotten here; fold it further and come again. Raises CannotOwn.
        """
        if reached < self.horizon:
            return False
        if key in self._by_key:
            return True
        found = stream.last_offset >= 0
        later = self._tail.of(key)
        for raw in later:
            # A snapshot may be ahead of the journal that was asked for the rest.
            if raw.offset >= reached and raw.offset > stream.last_offset and raw.header is not None:
                self.take(stream, raw, raw.header, Fence(raw.header.term, raw.header.claim_id))
        # Only now, for where it cannot be folded it is needed again.
        self._tail.drop(key)
        self._enter(key, stream)
        self._remember(len(stream.answered))
        self._note_over(key, self.deciders[category_of(key)], stream.state)
        if stream.version - stream.snapped >= self.snapshot_every:
            self.due[key] = None
        self.loads[source if found or not later else "tail"] += 1
        return True

    def recalled(self, key: bytes, command_id: bytes, answered: bytes | None) -> None:
        """What became of a command that `ready` had doubts about. None: there was no such command."""
        stream = self._by_key.get(key)
        if stream is None:
            return
        if answered is None:
            self._cleared[key, command_id] = None
            if len(self._cleared) > _CLEARED:
                del self._cleared[next(iter(self._cleared))]
        elif command_id not in stream.answered:
            self._remember(1)
            # First, so that it is the first to go again.
            stream.answered = {command_id: answered, **stream.answered}

    def commit(
        self, states: Mapping[bytes, tuple[Decider[Any, Any, Any], Any, int]], answers: Iterable[tuple[bytes, bytes, int, bytes]]
    ) -> None:
        """Take what our own confirmed batch brought about: per key decider, state and version; per command offset and answer."""
        by_key = self._by_key
        for key, (decider, state, version) in states.items():
            stream = by_key.get(key)
            if stream is None:
                stream = self._enter(key, Stream(decider.initial))
                if self.horizon:
                    self.loads["new"] += 1
            stream.state = state
            stream.version = version
            self._note_over(key, decider, state)
            if version - stream.snapped >= self.snapshot_every:
                self.due[key] = None
        more = 0
        for key, command_id, offset, answered in answers:
            stream = by_key[key]
            stream.answered[command_id] = answered
            stream.last_offset = offset
            more += 1
            if len(stream.answered) >= 2 * WINDOW:
                more -= len(stream.answered)
                stream.answered, stream.older = shortened(stream.answered, stream.older)
                more += len(stream.answered)
        self._remember(more)

    def journal_reached(self, offset: int) -> None:
        """The journal holds everything before `offset`: what the tail has of that can be read there."""
        self.journaled = max(self.journaled, offset)
        self._shorten_tail()

    def trim(self) -> None:
        """Put out as much as came in since the last time, and a little more, where that is needed.

        Never while a batch is under way: its streams must be here when it is confirmed.
        """
        most, self._entered = self._entered + 1, 0
        if self.room.pressed:
            self._forget(most)

    def give_way(self) -> bool:
        """Forget some of what is not used, for the sake of all; whether to go on. As `trim`, not while a batch is under way."""
        self._forget(_LOOKS)
        return self.room.crowded

    def _forget(self, most: int) -> None:
        # Once round at most, so that nothing is forgotten that was used since the last time.
        looks, room = min(_LOOKS, len(self._ring)), self.room
        while looks and most and self._ring and room.crowded:
            looks -= 1
            key = self._ring.popleft()
            if (stream := self._by_key.get(key)) is None:
                continue
            if stream.used or stream.waits or (stream.last_offset >= self.journaled and not room.overfull):
                stream.used = False
                self._ring.append(key)
                continue
            most -= 1
            self.forget(key)

    def forget(self, key: bytes) -> None:
        """Put a loaded stream out. Not while a batch is under way."""
        stream = self._by_key.pop(key)
        self.room.streams -= 1
        self._remember(-len(stream.answered))
        self.evicted += 1
        if stream.last_offset >= 0:
            self.names.add(key)
        self.horizon = max(self.horizon, stream.last_offset + 1)
        self.over.pop(key, None)
        if len(self._ring) > 2 * len(self._by_key) + _LOOKS:
            self._ring = deque(each for each in dict.fromkeys(self._ring) if each in self._by_key)

    def _note_over(self, key: bytes, decider: Decider[Any, Any, Any], state: Any) -> None:
        if decider.over is not None and decider.over(state):
            self.over[key] = None

    def _remember(self, more: int) -> None:
        self.remembered += more
        self.room.commands += more

    def _shorten_tail(self) -> None:
        for offset, key in self._tail.shorten(self.journaled, self.room.bounds.tail):
            self.horizon = max(self.horizon, offset + 1)
            self.names.add(key)

    def _enter(self, key: bytes, stream: Stream) -> Stream:
        self._by_key[key] = stream
        self.room.streams += 1
        self._entered += 1
        self._ring.append(key)
        return stream

    def _fact(self, raw: RawRecord) -> Recorded[Fact]:
        try:
            return recorded(raw, self.codec)
        except UnknownEvent as error:
            raise NotUnderstood(f"{raw.topic}/{raw.partition}/{raw.offset}: {error}") from error
        except (BrokenBody, InvalidStreamName) as error:
            raise CannotOwn(f"{raw.topic}/{raw.partition}/{raw.offset}: {error}") from error


def category_of(key: bytes) -> str:
    """The kind of stream that a record's key names; empty where it names none."""
    parts = key.split(b"/", 2)
    return parts[1].decode("ascii", "replace") if len(parts) == 3 else ""
