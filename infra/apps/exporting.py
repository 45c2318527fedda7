"""Facts of the log as files, part by part, with the position from which the next part goes on: none twice, none left out.

A part ends with whole commits. Who keeps its position together with its files can be killed at any moment, and goes on from there.
"""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from events.operations import OperationFile
from events.parking import ParkedRecord, recorded_or_parked
from events.positions import Cursor, InvalidPosition
from events.records import RawRecord
from events.registry import Fact, known_types
from events.rooms import ROOMS
from events.sealing import KeyRing, Sealed
from events.selecting import Select
from events.streams import topic_of
from infra.adapters.fact_files import Format, FormatMissing, Made, Shown, part_in
from infra.adapters.kafka.reader import KafkaLogReader
from infra.apps.export_files import StoredExports, file_name
from infra.apps.operations import CannotBeDone, Note, Work
from infra.apps.story import in_clear, plain
from projections.operations import Operation
from projections.ports import TopicOf

_MOST_FACTS = 20_000
_MOST_BYTES = 8 << 20

Bound: TypeAlias = Cursor | datetime | None
"""A position that an export gave, a time of appending, or nothing: the beginning, or the end as it is now."""


class BadBound(ValueError):
    """Neither a time with its zone nor a position that an export gave."""


class UnknownTypes(ValueError):
    """There are no such kinds of facts; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which facts, and how. From `since` on, which belongs to them, to `until`, which does not. `opened`: what is sealed is shown."""

    form: Format
    since: Bound = None
    until: Bound = None
    ce_types: Collection[str] = ()
    tenants: Collection[str] = ()
    opened: bool = False


class Part(NamedTuple):
    """Some of the facts, whole files; `reached` stands behind all of them."""

    files: Sequence[Made]
    facts: int
    reached: Cursor


def bound_of(text: str | None) -> Bound:
    """Raises BadBound."""
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            return Cursor.parse(text)
        except InvalidPosition as cause:
            raise BadBound(f"{text[:100]!r} is neither a time such as 2026-11-21T10:00:00Z nor a position that an export gave") from cause
    if time.tzinfo is None:
        raise BadBound(f"{text[:100]!r} has no zone; end it with Z for UTC")
    return time


def types_of(names: Collection[str]) -> Sequence[str]:
    """`call-ended` stands for all its versions, `call-ended.v1` for one. Raises UnknownTypes."""
    known = [(kind.name, kind.ce_type) for kind in known_types()]
    strange = sorted(set(names) - {name for pair in known for name in pair})
    if strange:
        raise UnknownTypes(f"there is no kind of fact named {strange[0]!r}")
    return sorted({ce_type for name, ce_type in known if name in names or ce_type in names})


def shown_by(keyring: KeyRing | None) -> Shown:
    """How JSON shows a fact: what is sealed in clear, or, without a key ring, as whose it is and its box in hex."""

    def sealed(value: Sealed[str]) -> Any:
        return {"subject": value.subject, "box": value.box.hex()} if keyring is None else in_clear(keyring, value)

    def shown(fact: Fact) -> Mapping[str, Any]:
        fields: Mapping[str, Any] = plain(fact, sealed)
        return fields

    return shown


async def exported(
    reader: KafkaLogReader,
    wanted: Wanted,
    keyring: KeyRing,
    *,
    resumed: Cursor | None = None,
    topic_of: TopicOf = topic_of,
    most_facts: int = _MOST_FACTS,
) -> AsyncIterator[Part]:
    """Part by part, from `resumed` on where that is known; the last one may have no facts, and says where the log was read to.

    Raises FormatMissing, LogAway, HistoryLost.
    """
    topics = [topic_of(room) for room in ROOMS]
    shown = shown_by(keyring if wanted.opened else None)
    reached = resumed or (wanted.since if isinstance(wanted.since, Cursor) else Cursor())
    stop = await _stops(reader, topics, wanted.until)
    select = Select(ce_types=frozenset(wanted.ce_types), tenants=frozenset(wanted.tenants))
    part, moved = part_in(wanted.form, reader.codec, shown), False
    async with aclosing(reader.batches(topics, reached, stop_at_end=True, stop=stop, select=select)) as batches:
        async for batch in batches:
            for raw in batch.records:
                if _within(raw, wanted) and not isinstance(fact := recorded_or_parked(raw, reader.codec), ParkedRecord):
                    part.add(fact)
            reached, moved = reached.after(batch), True
            if part.facts >= most_facts or part.size >= _MOST_BYTES:
                yield Part(part.made(), part.facts, reached)
                part, moved = part_in(wanted.form, reader.codec, shown), False
    if part.facts or moved:
        yield Part(part.made() if part.facts else (), part.facts, reached)


async def _stops(reader: KafkaLogReader, topics: Sequence[str], until: Bound) -> Mapping[tuple[str, int], int] | None:
    if isinstance(until, Cursor):
        ends = await reader.end_offsets(topics)
        return {place: until[place][0] if place in until else 0 for place in ends}
    # A time is held against each record: what a superseded writer's clock said must not end the reading early.
    return None


def _within(raw: RawRecord, wanted: Wanted) -> bool:
    since, until = wanted.since, wanted.until
    if isinstance(since, datetime) and raw.timestamp_ms < since.timestamp() * 1000:
        return False
    return not (isinstance(until, datetime) and raw.timestamp_ms >= until.timestamp() * 1000)


def export_work(reader: KafkaLogReader, files: StoredExports, keyring: KeyRing, *, topic_of: TopicOf = topic_of) -> Work:
    """The work of an operation of the kind `export`."""

    async def work(row: Operation, note: Note) -> str:
        asked = json.loads(row.wanted)
        try:
            wanted = Wanted(
                form=Format(asked["format"]), since=bound_of(asked["since"]), until=bound_of(asked["until"]),
                ce_types=types_of(asked["types"]), tenants=[row.tenant], opened=bool(row.because),
            )  # fmt: skip
            done, number = row.done, len(row.files)
            resumed = Cursor.parse(row.position) if row.position else None
            async for part in exported(reader, wanted, keyring, resumed=resumed, topic_of=topic_of):
                kept = []
                for made in part.files:
                    number += 1
                    kept_as, digest = await files.keep(row.tenant, row.id, file_name(number, row.attempt), made.content)
                    name = f"part-{number:05d}{made.suffix}"
                    kept.append(OperationFile(name=name, kept_as=kept_as, bytes=len(made.content), digest=digest, facts=made.facts))
                done += part.facts
                await note(done, str(part.reached), kept)
        except (BadBound, UnknownTypes, FormatMissing) as cause:
            raise CannotBeDone(str(cause)) from cause
        return f"{done} facts in {number} files"

    return work
