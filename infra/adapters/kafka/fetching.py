"""One fetch of records from one broker, for many partitions at once, read as whole record batches."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import CorruptRecordException, KafkaError, for_code
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords

from commands.ports import HistoryLost, Place
from events.headers import HEADER, kind_of
from events.records import RawRecord, packed_header
from infra.adapters.kafka.link import Link, NotAsked, Unanswered
from infra.adapters.kafka.sessions import FetchRequest, Part

_READ_UNCOMMITTED = 0
LATEST = -1
EARLIEST = -2


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a broker gave for one partition: whole batches as bytes, to be read from `offset` on."""

    place: Place
    offset: int
    data: bytes


class TryElsewhere(Exception):
    """The broker did not answer, or does not lead a partition any more."""


async def fetch(link: Link, node: int, wanted: Mapping[Place, int], *, wait_ms: int) -> Sequence[Fetched]:
    """Ask one broker for records from given offsets; waits up to `wait_ms` while there are none.

    Raises TryElsewhere, or HistoryLost for an offset that the partition does not have or a history that does not begin at 0.
    """
    try:
        connection = await link.connection(node)
        answer = await link.post(connection, FetchRequest(wanted, wait_ms))
    except (NotAsked, Unanswered, KafkaError) as error:
        link.outdated()
        raise TryElsewhere(f"{type(error).__name__}: {error}") from error
    if answer.code:
        raise TryElsewhere(for_code(answer.code).__name__)
    return given(link, answer.parts, wanted)


def given(link: Link, parts: Iterable[Part], wanted: Mapping[Place, int]) -> list[Fetched]:
    """The records among what a broker said of partitions. Raises as `fetch` does."""
    fetched = []
    for place, code, end, begin, data in parts:
        offset = wanted[place]
        if code == 1:
            raise HistoryLost(f"{place} has no offset {offset}: it goes from {begin} to {end}")
        if code:
            link.outdated()
            raise TryElsewhere(f"{place}: {for_code(code).__name__}")
        if begin > 0:
            raise HistoryLost(f"{place} begins at offset {begin}, not at 0: its retention took history away")
        if data:
            fetched.append(Fetched(place, offset, data))
    return fetched


async def end_offsets(link: Link, node: int, places: Sequence[Place]) -> dict[Place, int]:
    """The offsets after the last visible records, of partitions that a broker leads. Raises TryElsewhere."""
    return await offsets(link, node, places, at=LATEST)


async def offsets(link: Link, node: int, places: Sequence[Place], *, at: int) -> dict[Place, int]:
    """The offset of the first record that was appended at or after a time in ms since 1970 (-1: none), or LATEST, or EARLIEST.

    Raises TryElsewhere where the broker does not say it of every partition.
    """
    found, refused = await offsets_told(link, node, places, at=at)
    if refused:
        raise TryElsewhere("; ".join(f"{place}: {why}" for place, why in refused.items()))
    return found


async def offsets_told(link: Link, node: int, places: Sequence[Place], *, at: int) -> tuple[dict[Place, int], dict[Place, str]]:
    """As `offsets`, of those partitions of which the broker says it; of the others the error that it names instead.

    Raises TryElsewhere where it does not answer.
    """
    by_topic: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for place in places:
        by_topic[place.topic].append((place.partition, at))
    response = await _ask(link, node, OffsetRequest(-1, _READ_UNCOMMITTED, list(by_topic.items())))
    found, refused = {}, {}
    for topic, partitions in response.topics:
        for partition, code, _timestamp, offset in partitions:
            if code:
                refused[Place(topic, partition)] = for_code(code).__name__
            else:
                found[Place(topic, partition)] = offset
    if refused:
        link.outdated()
    return found, refused


async def _ask(link: Link, node: int, request: Any) -> Any:
    try:
        connection = await link.connection(node)
        return await connection.ask(request)
    except (NotAsked, Unanswered) as error:
        link.outdated()
        raise TryElsewhere(str(error)) from error


def records_in(fetched: Fetched, stop: int | None = None) -> tuple[list[RawRecord], int]:
    """The records of what was fetched that lie before `stop`, and the offset after them (gaps and control records counted).

    Raises HistoryLost for a batch whose checksum is wrong.
    """
    topic, partition = fetched.place
    raws: list[RawRecord] = []
    make = tuple.__new__
    reached = fetched.offset
    for batch in _batches(fetched):
        # Control batches are a foreign transaction's end.
        if not batch.is_control_batch:
            try:
                for record in batch:
                    offset = record.offset
                    if offset < reached:
                        continue
                    if stop is not None and offset >= stop:
                        return raws, stop
                    # As our own writer orders them, the type first and the packed header last; else in any order.
                    headers = record.headers
                    if len(headers) == 6 and headers[0][1] in _TYPES and headers[5][0] == HEADER and headers[0][0] == "ce_type":
                        ce_type, packed = _TYPES[headers[0][1]], headers[5][1]
                    else:
                        ce_type, packed = _found_in(headers)
                    # As the class's own constructor makes it, in a third of the time.
                    raws.append(make(RawRecord, (
                        topic, partition, offset, record.timestamp, record.key or b"", record.value or b"", ce_type, packed,
                    )))  # fmt: skip
            except (CorruptRecordException, UnicodeDecodeError):
                # As somebody wrote it, for the checksum fits: a header's name that is no text. Nobody reads the rest of that batch.
                first = raws[-1].offset + 1 if raws and raws[-1].offset >= reached else reached
                unread = range(first, batch.next_offset if stop is None else min(stop, batch.next_offset))
                raws += [RawRecord(topic, partition, offset, batch.first_timestamp, b"", b"", "", None) for offset in unread]
        reached = batch.next_offset
    return raws, reached if stop is None else min(reached, stop)


def _batches(fetched: Fetched) -> Iterator[Any]:
    batches = MemoryRecords(fetched.data)
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise HistoryLost(f"{fetched.place}: the batch at offset {batch.base_offset} does not fit its checksum")
        yield batch


_TYPES: dict[bytes | None, str] = {}
_MANY_TYPES = 10_000


def _found_in(headers: Sequence[tuple[str, bytes | None]]) -> tuple[str, bytes | None]:
    ce_type, packed = packed_header(headers)
    if kind_of(packed) is not None and len(_TYPES) < _MANY_TYPES:
        _TYPES[ce_type.encode()] = ce_type
    return ce_type, packed
