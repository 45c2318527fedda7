"""Kafka's Fetch request, version 11, and its sessions (KIP-227): broker and reader name only the partitions that changed.

Without a session each answer, be it of one record, names every partition that is read, and so does the next request: at a hundred
partitions and hundreds of appends a second that was a fifth of what a process did.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from commands.ports import Place
from infra.adapters.kafka.requests import COUNT, LENGTH, WireRequest

# Our topics have no transactions. What a foreign transactional writer leaves is dropped by the rule of admission, alike for
# every reader; waiting for its transactions to end would only let it hold us up.
_READ_UNCOMMITTED = 0
_NO_REPLICA = -1
_AT_LEAST_BYTES = 1
# A part is read in one go on the event loop: a few milliseconds' worth.
_PARTITION_BYTES = 256 << 10
_RESPONSE_BYTES = 1 << 20
_NO_SESSION = 0
_NEW = 0
_NEVER = -1
_LAST_EPOCH = (1 << 31) - 1
# As Kafka numbers them: the broker forgot the session, or it is told an epoch that it does not expect.
_SESSION_LOST = frozenset({70, 71})

_BEGINNING = struct.Struct(">iiiibii")
_WANTED = struct.Struct(">iiqqi")
_NO_RACK = LENGTH.pack(0)
_ANSWER = struct.Struct(">ihi")
_PART = struct.Struct(">ihqqqi")
_ABORTED_BYTES = 16
_REPLICA_AND_LENGTH = struct.Struct(">ii")


class Part(NamedTuple):
    """What a broker says of one partition: Kafka's error code (0: none), where it begins and ends, and whole batches as bytes."""

    place: Place
    code: int
    end: int
    begin: int
    data: bytes


class FetchAnswer(NamedTuple):
    """`code` is of the whole request; `session` 0: there is none."""

    code: int
    session: int
    parts: list[Part]


class _Response:
    @staticmethod
    def decode(stream: Any) -> FetchAnswer:
        # Whole, and not what is left of it: that would copy up to 1 MiB.
        data, at = stream.getvalue(), stream.tell()
        _throttled, code, session = _ANSWER.unpack_from(data, at)
        at += _ANSWER.size
        (topics,) = COUNT.unpack_from(data, at)
        at += COUNT.size
        parts = []
        for _ in range(topics):
            (length,) = LENGTH.unpack_from(data, at)
            at += LENGTH.size + length
            topic = data[at - length : at].decode()
            (partitions,) = COUNT.unpack_from(data, at)
            at += COUNT.size
            for _ in range(partitions):
                partition, error, end, _stable, begin, aborted = _PART.unpack_from(data, at)
                at += _PART.size + max(0, aborted) * _ABORTED_BYTES
                _replica, length = _REPLICA_AND_LENGTH.unpack_from(data, at)
                at += _REPLICA_AND_LENGTH.size
                records = b""
                if length > 0:
                    records = data[at : at + length]
                    at += length
                parts.append(Part(Place(topic, partition), error, end, begin, records))
        return FetchAnswer(code, session, parts)


class FetchRequest(WireRequest[FetchAnswer]):
    """Records of partitions that one broker leads, from given offsets; it waits up to `wait_ms` while there are none.

    By itself it belongs to no session.
    """

    KEY = 1
    VERSION = 11

    def __init__(
        self,
        wanted: Mapping[Place, int],
        wait_ms: int,
        *,
        session: int = _NO_SESSION,
        epoch: int = _NEVER,
        forgotten: Iterable[Place] = (),
    ) -> None:
        by_topic: defaultdict[str, list[bytes]] = defaultdict(list)
        for place, offset in wanted.items():
            by_topic[place.topic].append(_WANTED.pack(place.partition, -1, offset, -1, _PARTITION_BYTES))
        parts = [
            _BEGINNING.pack(_NO_REPLICA, wait_ms, _AT_LEAST_BYTES, _RESPONSE_BYTES, _READ_UNCOMMITTED, session, epoch),
            *_by_topic(by_topic),
        ]
        left: defaultdict[str, list[bytes]] = defaultdict(list)
        for place in forgotten:
            left[place.topic].append(COUNT.pack(place.partition))
        super().__init__(b"".join((*parts, *_by_topic(left), _NO_RACK)), _Response)


def _by_topic(partitions: Mapping[str, list[bytes]]) -> Iterable[bytes]:
    yield COUNT.pack(len(partitions))
    for topic, each in partitions.items():
        name = topic.encode()
        yield from (LENGTH.pack(len(name)), name, COUNT.pack(len(each)), *each)


class FetchSession:
    """What one broker was told to give to one reading, and what it is to be told next.

    Without `lasting`, and where a broker has no place for another session, every request names all that is wanted.
    """

    def __init__(self, wait_ms: int, *, lasting: bool) -> None:
        self.wanted: dict[Place, int] = {}
        self._wait_ms = wait_ms
        self._told: dict[Place, int] = {}
        self._changed: set[Place] = set()
        self._id = _NO_SESSION
        self._first = _NEW if lasting else _NEVER
        self._epoch = self._first

    def want(self, place: Place, offset: int) -> None:
        """From this offset on, at the next request. A broker fills its answer in the order of the partitions: who was served comes last."""
        self.wanted.pop(place, None)
        self.wanted[place] = offset
        self._changed.add(place)

    def leave(self, place: Place) -> None:
        """Not any more, from the next request on."""
        if self.wanted.pop(place, None) is not None:
            self._changed.add(place)

    def request(self) -> FetchRequest:
        """The next one. One at a time, and each is followed by `answered` or `begin_anew`."""
        asked, forgotten = self.wanted, []
        if self._epoch == self._first:
            self._told.clear()
        else:
            asked = {place: self.wanted[place] for place in self._changed if place in self.wanted}
            forgotten = [place for place in self._changed if place not in self.wanted and self._told.pop(place, None) is not None]
        # What is wanted changes while the answer is on its way.
        self._told.update(asked)
        self._changed.clear()
        return FetchRequest(asked, self._wait_ms, session=self._id, epoch=self._epoch, forgotten=forgotten)

    @property
    def told(self) -> Mapping[Place, int]:
        """From where the broker was told to read each partition."""
        return self._told

    def answered(self, answer: FetchAnswer) -> bool:
        """False: the broker does not know the session, so it gave nothing, and the next request begins one anew."""
        if answer.code in _SESSION_LOST:
            self.begin_anew()
            return False
        self._id = answer.session
        self._epoch = self._first if answer.session == _NO_SESSION else 1 if self._epoch == _LAST_EPOCH else self._epoch + 1
        return True

    def begin_anew(self) -> None:
        """After an answer that did not come, or that could not be used."""
        # Told its number with the first epoch, a broker forgets the old session.
        self._epoch = self._first
