"""Kafka's Produce request, version 7, and its answer as bytes: what aiokafka's general encoder takes ten times as long for."""

import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

from commands.ports import Place

_KEY = 0
VERSION = 7
_ALL_REPLICAS = -1
_NO_TRANSACTION = -1
_HEADER = struct.Struct(">ihhi")
_BEGINNING = struct.Struct(">hhii")
_COUNT = struct.Struct(">i")
_LENGTH = struct.Struct(">h")
_PARTITION = struct.Struct(">ii")
_ANSWER = struct.Struct(">ihqqq")


class Produced(NamedTuple):
    """What became of one partition's batch: Kafka's error code (0: none), and the offset of its first record."""

    place: Place
    code: int
    offset: int


class _ResponseHeader(NamedTuple):
    correlation_id: int


class _Response:
    @staticmethod
    def decode(stream: Any) -> list[Produced]:
        data = stream.read()
        (topics,), at = _COUNT.unpack_from(data), _COUNT.size
        found = []
        for _ in range(topics):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size + length
            topic = data[at - length : at].decode()
            (partitions,) = _COUNT.unpack_from(data, at)
            at += _COUNT.size
            for _ in range(partitions):
                partition, code, offset, _time, _start = _ANSWER.unpack_from(data, at)
                at += _ANSWER.size
                found.append(Produced(Place(topic, partition), code, offset))
        return found


class ProduceRequest:
    """Whole batches for partitions that one broker leads, to be acknowledged by all replicas.

    It has what `aiokafka.conn` asks of a request that waits for its answer.
    """

    RESPONSE_TYPE: ClassVar = _Response

    def __init__(self, batches: Iterable[tuple[Place, bytes]], timeout_ms: int) -> None:
        by_topic: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for place, buffer in batches:
            by_topic[place.topic].append((place.partition, buffer))
        parts = [_BEGINNING.pack(_NO_TRANSACTION, _ALL_REPLICAS, timeout_ms, len(by_topic))]
        for topic, partitions in by_topic.items():
            name = topic.encode()
            parts += (_LENGTH.pack(len(name)), name, _COUNT.pack(len(partitions)))
            for partition, buffer in partitions:
                parts += (_PARTITION.pack(partition, len(buffer)), buffer)
        self._body = b"".join(parts)

    def __repr__(self) -> str:
        return f"ProduceRequest({len(self._body)} bytes)"

    def frame(self, correlation_id: int, client_id: bytes) -> bytes:
        """The request as it goes over the wire."""
        size = _HEADER.size - _COUNT.size + _LENGTH.size + len(client_id) + len(self._body)
        return b"".join((
            _HEADER.pack(size, _KEY, VERSION, correlation_id), _LENGTH.pack(len(client_id)), client_id, self._body,
        ))  # fmt: skip

    @staticmethod
    def parse_response_header(stream: Any) -> _ResponseHeader:
        """As `aiokafka.conn` calls it, before the rest of the answer is decoded."""
        return _ResponseHeader(*_COUNT.unpack(stream.read(_COUNT.size)))
