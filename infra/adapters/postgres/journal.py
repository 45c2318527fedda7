"""The journal's records, decoded again."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from events.codec import Codec
from events.headers import Kind
from events.positions import Position, Reach
from events.recorded import EventId, Recorded
from events.records import recorded
from events.registry import Fact
from events.streams import StreamId
from infra.adapters.postgres.event_ids import EVENT_AT
from infra.adapters.postgres.over_time import counts_then_of
from infra.adapters.postgres.packed import AFTER, BEFORE, HOT, NEWEST, OF_STREAM, STREAMS
from infra.adapters.postgres.rows import unavailable
from infra.adapters.postgres.shapes import LIVE, READ_SIDE, names
from infra.adapters.postgres.walls import Asked
from projections.journal import JOURNAL, JournalEntry, key_of, raw_of
from projections.queries import Then, TooMuch
from projections.series import EntryRow, Series

E = TypeVar("E", bound=EntryRow)

_NAMES = names(JOURNAL)
_SELECT = f"SELECT {_NAMES} FROM {HOT}"
_EVENT = int(Kind.EVENT)
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
# A second or two of looking up.
_MOST_ENTRIES = 200_000
# So long the loop is held by decoding, where each of them is long.
_STREAMS_AT_ONCE = 25
_PLACE = 'topic, partition, "offset"'
# Each of what is not packed and of what is packed, in one statement: nobody who reads sees a part neither here nor there.
_OF_STREAM = f"""
SELECT * FROM ({_SELECT} WHERE stream = $1 AND version > $2 AND kind = {_EVENT} UNION ALL
    SELECT * FROM {OF_STREAM}($1, $2 + 1) WHERE kind = {_EVENT}) entry
ORDER BY version LIMIT $3
"""
# Only the parts of the streams' topic are looked through. One statement for all: a page of the past is of a hundred streams.
_OF_STREAMS = f"""
SELECT * FROM (
    {_SELECT} WHERE topic = ANY(ARRAY(SELECT DISTINCT topic FROM {READ_SIDE}.checkpoints WHERE projection = {LIVE.replace("'{}'", "$2")}))
        AND stream = ANY($1) AND kind = {_EVENT} UNION ALL
    SELECT cold.* FROM unnest($1::text[]) wanted CROSS JOIN LATERAL {OF_STREAM}(wanted, 1) cold WHERE cold.kind = {_EVENT}
) entry ORDER BY stream, version
"""
_AFTER = f"""
SELECT * FROM (
    ({_SELECT} WHERE topic = $1 AND partition = $2 AND "offset" > $3{{}} ORDER BY {_PLACE} LIMIT $4) UNION ALL
    SELECT * FROM {AFTER}($1, $2, $3, $4, {{}})
) entry ORDER BY {_PLACE} LIMIT $4
"""
# What is not packed is named too: while this is answered no part goes from where it was looked for first to where it was looked for last.
_EVENT_AT = f"""
SELECT * FROM (SELECT {_NAMES} FROM {EVENT_AT}($1) UNION ALL {_SELECT} WHERE false) found
WHERE kind = {_EVENT} AND ($2::text IS NULL OR split_part(stream, '/', 1) = $2) ORDER BY length(topic) DESC, topic DESC LIMIT 1
"""
_EVENTS_AFTER, _RECORDS_AFTER = _AFTER.format(f" AND kind = {_EVENT}", "true"), _AFTER.format("", "false")


class PostgresJournal:
    """`projections.queries.JournalRows`."""

    def __init__(self, asked: Asked, codec: Codec) -> None:
        self._asked = asked
        self._codec = codec

    async def stream_events(self, stream: StreamId, *, after_version: int = 0, limit: int | None = None) -> Sequence[Recorded[Fact]]:
        return self._decoded(await self._read(_OF_STREAM, str(stream), after_version, limit))

    async def events_of(self, streams: Sequence[StreamId], projection: str) -> Mapping[StreamId, Sequence[Recorded[Fact]]]:
        found: defaultdict[StreamId, list[Recorded[Fact]]] = defaultdict(list)
        for at in range(0, len(streams), _STREAMS_AT_ONCE):
            some = [str(each) for each in streams[at : at + _STREAMS_AT_ONCE]]
            for fact in self._decoded(await self._read(_OF_STREAMS, some, projection)):
                found[fact.stream].append(fact)
        return found

    async def events_after(self, topic: str, partition: int, offset: int, *, limit: int = 100) -> Sequence[Recorded[Fact]]:
        return self._decoded(await self._read(_EVENTS_AFTER, topic, partition, offset, limit))

    async def event(self, tenant: str | None, event_id: EventId) -> Recorded[Fact] | None:
        commit_id, index = event_id
        found = self._decoded(await self._read(_EVENT_AT, commit_id + index.to_bytes(2, "big"), tenant))
        return found[0] if found else None

    async def streams(
        self, tenant: str | None, category: str, *, after: str | None = None, limit: int = 100, newest_first: bool = True
    ) -> Sequence[StreamId]:
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        if tenant is None:
            # Of everybody: a list for the platform's operator, who has patience.
            by, within = "split_part(stream, '/', 3)", ("stream LIKE $1", f"%/{category}/%")
        else:
            by, within = "stream", ("stream >= $1", f"{tenant}/{category}/")
        # No id has a character behind the tilde, so that this ends the prefix.
        end = f"{tenant}/{category}/~" if tenant is not None else "~"
        last = None if after is None else after if tenant is None else f"{tenant}/{category}/{after}"
        # Two organisations may have a stream of the same id.
        ordered = f"{by} {order}" if by == "stream" else f"{by} {order}, stream {order}"
        wanted = f"{within[0]} AND stream < $2 AND ($3::text IS NULL OR {by} {beyond} $3)"
        sql = (
            f"SELECT stream FROM ((SELECT stream FROM {HOT} WHERE {wanted} AND version = 1 AND kind = {_EVENT} ORDER BY {ordered} "
            f"LIMIT $4) UNION ALL (SELECT stream FROM {STREAMS} WHERE {wanted} AND begins ORDER BY {ordered} LIMIT $4)) found "
            f"ORDER BY {ordered} LIMIT $4"
        )
        with unavailable():
            return [StreamId.parse(key_of(record["stream"])) for record in await self._asked.fetch(sql, within[1], end, last, limit)]

    async def appended_at(self, position: Position) -> datetime | None:
        sql = f"""
            SELECT coalesce((
                SELECT appended_at_ms FROM {HOT} WHERE topic = $1 AND partition = $2 AND "offset" <= $3
                ORDER BY topic DESC, partition DESC, "offset" DESC LIMIT 1
            ), (SELECT appended_at_ms FROM {BEFORE}($1, $2, $3, 1, false))) FROM {READ_SIDE}.checkpoints c
            WHERE c.projection = {LIVE.format(JOURNAL.name)} AND c.topic = $1 AND c.partition = $2 AND c.next_offset > $3
        """
        with unavailable():
            found = await self._asked.fetchval(sql, position.topic, position.partition, position.offset)
        return None if found is None else datetime.fromtimestamp(found / 1000, UTC)

    async def counts_then(
        self, series: Series[E], organisation: str, then: Then, *, per: str, begins: datetime, ends: datetime, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], Position | None]:
        topics, partitions = [topic for topic, _ in then.reach], [partition for _, partition in then.reach]
        # As `datetime.fromtimestamp` has it of an append time, so that what is at the very moment is in it.
        at_ms = (then.at - _EPOCH) // _MILLISECOND
        with unavailable():
            found = await self._asked.fetch(
                counts_then_of(series, per), organisation, begins, ends, limit, at_ms,
                topics, partitions, list(then.reach.values()), _MOST_ENTRIES + 1,
            )  # fmt: skip
        if not found:
            return (), None
        counts, last = [dict(each) for each in found], found[0]
        if last["looked_at"] > _MOST_ENTRIES:
            raise TooMuch(f"more than {_MOST_ENTRIES} entries")
        facts = await self.events_after(last["last_topic"], last["last_partition"], last["last_offset"] - 1, limit=1)
        return counts, facts[0].position if facts else None

    async def reached(self, places: Collection[tuple[str, int]]) -> Reach:
        sql = f"""
            SELECT topic, partition, next_offset FROM {READ_SIDE}.checkpoints WHERE projection = {LIVE.format(JOURNAL.name)}
                AND (topic, partition) IN (SELECT * FROM unnest($1::text[], $2::integer[]))
        """
        with unavailable():
            found = await self._asked.fetch(sql, [topic for topic, _ in places], [partition for _, partition in places])
        return {(each["topic"], each["partition"]): each["next_offset"] for each in found}

    async def latest(self, *, limit: int = 100) -> Sequence[Recorded[Fact]]:
        # The last of every partition, then the last of those: each is found by the key, however long the journal is.
        sql = f"""
            SELECT last.* FROM {READ_SIDE}.checkpoints c CROSS JOIN LATERAL (
                WITH hot AS MATERIALIZED (
                    {_SELECT} j WHERE j.topic = c.topic AND j.partition = c.partition AND kind = {_EVENT}
                    ORDER BY j.topic DESC, j.partition DESC, j."offset" DESC LIMIT $1
                )
                SELECT * FROM hot UNION ALL
                SELECT * FROM {BEFORE}(c.topic, c.partition, {NEWEST}, $1 - (SELECT count(*) FROM hot), true)
            ) last
            WHERE c.projection = {LIVE.format(JOURNAL.name)}
            ORDER BY last.appended_at_ms DESC, last.topic DESC, last.partition DESC, last."offset" DESC LIMIT $1
        """
        return self._decoded((await self._read(sql, limit))[::-1])

    async def records(self, topic: str, partition: int, *, from_offset: int = 0, limit: int = 1000) -> Sequence[JournalEntry]:
        """Entries as they are kept, of every kind, in order: for proofs, and for loading a stream's state."""
        return await self._read(_RECORDS_AFTER, topic, partition, from_offset - 1, limit)

    async def _read(self, sql: str, *values: object) -> list[JournalEntry]:
        with unavailable():
            return [JournalEntry(*record) for record in await self._asked.fetch(sql, *values)]

    def _decoded(self, entries: Sequence[JournalEntry]) -> list[Recorded[Fact]]:
        return [recorded(raw, self._codec) for raw in map(raw_of, entries)]
