"""Kafka's Produce request, version 7, and its answer."""

import struct
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from commands.ports import Place
from infra.adapters.kafka.requests import COUNT, LENGTH, WireRequest

_ALL_REPLICAS = -1
_NO_TRANSACTION = -1
_BEGINNING = struct.Struct(">hhii")
_PARTITION = struct.Struct(">ii")
_ANSWER = struct.Struct(">ihqqq")


class Produced(NamedTuple):
    """What became of one partition's batch: Kafka's error code (0: none), and the offset of its first record."""

    place: Place
    code: int
    offset: int


class _Response:
    @staticmethod
    def decode(stream: Any) -> list[Produced]:
        data = stream.read()
        (topics,), at = COUNT.unpack_from(data), COUNT.size
        found = []
        for _ in range(topics):
            (length,) = LENGTH.unpack_from(data, at)
            at += LENGTH.size + length
            topic = data[at - length : at].decode()
            (partitions,) = COUNT.unpack_from(data, at)
            at += COUNT.size
            for _ in range(partitions):
                partition, code, offset, _time, _start = _ANSWER.unpack_from(data, at)
                at += _ANSWER.size
                found.append(Produced(Place(topic, partition), code, offset))
        return found


class ProduceRequest(WireRequest[list[Produced]]):
    """Whole batches for partitions that one broker leads, to be acknowledged by all replicas."""

    KEY = 0
    VERSION = 7

    def __init__(self, batches: Iterable[tuple[Place, bytes]], timeout_ms: int) -> None:
        by_topic: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for place, buffer in batches:
            by_topic[place.topic].append((place.partition, buffer))
        parts = [_BEGINNING.pack(_NO_TRANSACTION, _ALL_REPLICAS, timeout_ms, len(by_topic))]
        for topic, partitions in by_topic.items():
            name = topic.encode()
            parts += (LENGTH.pack(len(name)), name, COUNT.pack(len(partitions)))
            for partition, buffer in partitions:
                parts += (_PARTITION.pack(partition, len(buffer)), buffer)
        super().__init__(b"".join(parts), _Response)
