"""The streams of one partition as the log confirms them: their states and versions, and which command got which answer."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from commands.decider import Decider
from events.admission import Fence
from events.codec import BrokenBody, Codec
from events.headers import Kind, RecordHeader
from events.recorded import Recorded
from events.records import RawRecord, recorded
from events.registry import Fact, UnknownEvent
from events.streams import InvalidStreamName


class CannotOwn(Exception):
    """The partition holds what this program does not understand; to decide on half a history would be wrong. A newer program may."""


class Answered(NamedTuple):
    """The first answer to a command: where its last record lies, and the stream's version after it."""

    digest: bytes
    offset: int
    version: int
    fence: Fence


class Stream:
    """One stream's confirmed state. `answered` holds the commands it took, by their id."""

    __slots__ = ("answered", "state", "version")

    def __init__(self, state: Any) -> None:
        self.state = state
        self.version = 0
        self.answered: dict[bytes, Answered] = {}


class Streams:
    """Folds admitted records. Knows nothing of what was not confirmed."""

    def __init__(self, deciders: Mapping[str, Decider[Any, Any, Any]], codec: Codec) -> None:
        self.codec = codec
        self._deciders = deciders
        self._by_key: dict[bytes, Stream] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: bytes) -> Stream | None:
        return self._by_key.get(key)

    def fold(self, raw: RawRecord, header: RecordHeader, fence: Fence) -> Recorded[Fact] | None:
        """Take a record as it was read, admitted under `fence`; returns its fact when it carries one. Raises CannotOwn."""
        if header.kind is Kind.RECEIPT:
            stream = self._by_key.get(raw.key)
            if stream is None:
                stream = self._new(raw.key, self._decider(raw))
            _answer(stream, raw, header, fence)
            return None
        if header.kind is not Kind.EVENT:
            return None
        decider = self._decider(raw)
        try:
            fact = recorded(raw, self.codec)
        except (UnknownEvent, BrokenBody, InvalidStreamName) as error:
            raise CannotOwn(f"{raw.topic}/{raw.partition}/{raw.offset}: {error}") from error
        stream = self._by_key.get(raw.key)
        if stream is None:
            stream = self._new(raw.key, decider)
        if header.version != stream.version + 1:
            raise CannotOwn(f"{raw.topic}/{raw.partition}/{raw.offset} has version {header.version} after version {stream.version}")
        stream.state = decider.evolve(stream.state, fact.fact)
        stream.version = header.version
        _answer(stream, raw, header, fence)
        return fact

    def commit(
        self, states: Mapping[bytes, tuple[Decider[Any, Any, Any], Any, int]], answers: Iterable[tuple[bytes, bytes, Answered]]
    ) -> None:
        """Take what our own confirmed batch brought about: per key the decider, state and version; per command its answer."""
        for key, (decider, state, version) in states.items():
            stream = self._by_key.get(key)
            if stream is None:
                stream = self._new(key, decider)
            stream.state = state
            stream.version = version
        for key, command_id, answered in answers:
            self._by_key[key].answered[command_id] = answered

    def _new(self, key: bytes, decider: Decider[Any, Any, Any]) -> Stream:
        stream = self._by_key[key] = Stream(decider.initial)
        return stream

    def _decider(self, raw: RawRecord) -> Decider[Any, Any, Any]:
        category = raw.key.split(b"/")[1:2]
        decider = self._deciders.get(category[0].decode("ascii", "replace")) if category else None
        if decider is None:
            raise CannotOwn(f"{raw.topic}/{raw.partition}/{raw.offset} belongs to {raw.key!r}, a kind of stream that is not known")
        return decider


def _answer(stream: Stream, raw: RawRecord, header: RecordHeader, fence: Fence) -> None:
    # A command's last record overwrites the ones before it: its answer is where all of it can be read.
    stream.answered[header.command_id] = Answered(header.digest, raw.offset, header.version, fence)
