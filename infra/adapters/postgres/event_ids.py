"""An event's place on the log by its id, without an index of events: where on a partition the commits of each claim begin.

A commit's id is the beginning of its claim's and a count, so along a partition ids rise for as long as they begin alike: that is a run.
A run begins where the record before it in the journal has another beginning, whatever batches they came in; so the table is a function of
the log. Within a run an event is found by halving, in parts that are packed piece by piece.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from events.records import RawRecord
from infra.adapters.postgres import packed as packs
from infra.adapters.postgres.connections import Connection
from infra.adapters.postgres.packed import packed_of, packing_of, unpacked_of, whole_of
from infra.adapters.postgres.shapes import names, relation_of, schema_of, view_of, view_schema_of
from infra.adapters.postgres.walls import READER
from projections.journal import JOURNAL, Journal
from projections.ports import Place, Projection

# In the packed header: the commit's id and the index in it lie together, most significant first, and so sort as they are counted.
_BEGINNING = slice(34, 44)
_FIRST_TEN, _ID = "substring({} FROM 35 FOR 10)", "substring({} FROM 35 FOR 18)"
_SECONDS = 3600.0
EVENT_AT = f'"{view_schema_of(JOURNAL)}".event_at'
"""(commit id and index): the record with that id, of every topic that has it, for who may see it."""


class Run(NamedTuple):
    """From this offset of a partition on, ids of commits begin so."""

    topic: str
    partition: int
    first_offset: int
    beginning: bytes


def runs_of(journal: Journal) -> str:
    """The relation of a build's runs."""
    return f'"{schema_of(journal)}".commit_runs'


def shown_in(projection: Projection) -> str:
    """The view that is there when all is that readers of a version need."""
    return f'"{view_schema_of(projection)}".commit_runs' if isinstance(projection, Journal) else view_of(projection)


class Runs:
    """The runs of the journal that a store writes. What each partition ends with is remembered, so that a batch asks for nothing."""

    def __init__(self) -> None:
        self._journal = JOURNAL
        self._last: dict[tuple[str, int], bytes | None] = {}

    async def opened(self, connection: Connection, marks: Collection[tuple[Projection, Place]]) -> None:
        """Look how the partitions end, now that nobody else writes them, and note what a program left out that knew of no runs."""
        places = []
        for projection, place in marks:
            if isinstance(projection, Journal):
                self._journal = projection
                places.append(place)
        if not places:
            return
        of_places = [each.topic for each in places], [each.partition for each in places]
        ends = await connection.fetch(_ends(self._journal), *of_places, timeout=_SECONDS)
        left_out = [(each["topic"], each["partition"], each["first_offset"] or 0) for each in ends if each["newest"] != each["beginning"]]
        if left_out:
            # All in one, which reads the journal as it lies.
            await connection.execute(_filled(self._journal), *map(list, zip(*left_out, strict=True)), timeout=_SECONDS)
        self._last.update(((each["topic"], each["partition"]), each["newest"]) for each in ends)

    def begun(self, records: Iterable[RawRecord]) -> Sequence[Run]:
        """The runs that begin in a batch."""
        last, now, found = self._last, dict[tuple[str, int], bytes](), []
        name, number, before = "", -1, b""
        for topic, partition, offset, _, _, _, _, packed in records:
            if packed is None:
                continue
            beginning = packed[_BEGINNING]
            if beginning == before and partition == number and topic == name:
                continue
            name, number, before = topic, partition, beginning
            place = topic, partition
            if now.get(place, last.get(place)) != beginning:
                now[place] = beginning
                found.append(Run(topic, partition, offset, beginning))
        return found

    async def note(self, connection: Connection, runs: Sequence[Run]) -> None:
        """Write them, with what began them."""
        if runs:
            await connection.execute(
                f"INSERT INTO {runs_of(self._journal)} SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[]) "
                "ON CONFLICT DO NOTHING",
                *map(list, zip(*runs, strict=True)),
            )  # fmt: skip

    def noted(self, runs: Sequence[Run]) -> None:
        """They are there for good."""
        self._last.update(((run.topic, run.partition), run.beginning) for run in runs)


def made(journal: Journal) -> str:
    """The statements that make what a build needs beside its relation: packed parts, and runs. Idempotent."""
    return f"""
        {packs.made(journal)};
        CREATE TABLE IF NOT EXISTS {runs_of(journal)} (
            topic text COLLATE "C" NOT NULL, partition integer NOT NULL, first_offset bigint NOT NULL, beginning bytea NOT NULL,
            PRIMARY KEY (topic, partition, first_offset)
        );
        CREATE INDEX IF NOT EXISTS commit_runs_by_beginning ON {runs_of(journal)} (beginning)
    """


def shown(journal: Journal, build: int) -> str:
    """The statements by which a version's readers see a build, and find its events by their ids.

    Where an id lies is found past the wall, else whoever owns little would have all that others wrote looked through; what lies there
    is then asked for in front of it.
    """
    seen = Journal(name=journal.name, version=journal.version, build=build)
    listed, schema, packed = names(journal), f'"{view_schema_of(journal)}"', packed_of(seen)
    return f"""
        {packs.shown(journal, build)};
        {made(seen)};
        CREATE OR REPLACE FUNCTION {schema}.place_of_event(wanted bytea)
        RETURNS TABLE (topic text, partition integer, "offset" bigint, piece bigint)
        LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $body$
        #variable_conflict use_column
        DECLARE run record; near record; low bigint; high bigint; middle bigint;
        BEGIN
            FOR run IN
                SELECT r.topic AS named, r.partition AS numbered, r.first_offset, coalesce(
                    (SELECT next.first_offset FROM {runs_of(seen)} next WHERE next.topic = r.topic AND next.partition = r.partition
                        AND next.first_offset > r.first_offset ORDER BY next.first_offset LIMIT 1),
                    (SELECT j."offset" + 1 FROM {relation_of(seen)} j WHERE j.topic = r.topic AND j.partition = r.partition
                        ORDER BY j.topic DESC, j.partition DESC, j."offset" DESC LIMIT 1),
                    (SELECT p.last_offset + 1 FROM {packed} p WHERE p.topic = r.topic AND p.partition = r.partition
                        ORDER BY p.topic DESC, p.partition DESC, p.last_offset DESC LIMIT 1)
                ) AS behind_it
                FROM {runs_of(seen)} r WHERE r.beginning = substring($1 FOR 10)
            LOOP
                low := run.first_offset;
                high := run.behind_it;
                WHILE low < high LOOP
                    middle := (low + high) / 2;
                    SELECT p.first_offset, p.last_offset, {_ID.format("p.header[1]")} AS lowest,
                        {_ID.format("p.header[cardinality(p.header)]")} AS highest
                    INTO near FROM {packed} p
                    WHERE p.topic = run.named AND p.partition = run.numbered AND p.last_offset >= middle
                        AND p.part NOT IN (SELECT part FROM {packing_of(seen)})
                    ORDER BY p.topic, p.partition, p.last_offset LIMIT 1;
                    IF FOUND AND near.first_offset >= high THEN
                        high := middle;
                    ELSIF FOUND AND near.first_offset >= run.first_offset AND $1 < near.lowest THEN
                        high := least(middle, near.first_offset);
                    ELSIF FOUND AND near.last_offset < run.behind_it AND $1 > near.highest THEN
                        low := near.last_offset + 1;
                    ELSIF FOUND THEN
                        RETURN QUERY SELECT run.named, run.numbered, u."offset", near.last_offset
                        FROM {packed} p CROSS JOIN LATERAL unnest(p."offset", p.header) u ("offset", header)
                        WHERE p.topic = run.named AND p.partition = run.numbered AND p.last_offset = near.last_offset
                            AND {_ID.format("u.header")} = $1;
                        EXIT;
                    ELSE
                        SELECT j."offset" AS place, {_ID.format("j.header")} AS id INTO near FROM {relation_of(seen)} j
                        WHERE j.topic = run.named AND j.partition = run.numbered AND j."offset" >= middle AND j."offset" < high
                        ORDER BY j.topic, j.partition, j."offset" LIMIT 1;
                        IF NOT FOUND OR near.id > $1 THEN
                            high := middle;
                        ELSIF near.id < $1 THEN
                            low := near.place + 1;
                        ELSE
                            RETURN QUERY SELECT run.named, run.numbered, near.place, NULL::bigint;
                            EXIT;
                        END IF;
                    END IF;
                END LOOP;
            END LOOP;
        END $body$;
        REVOKE ALL ON FUNCTION {schema}.place_of_event(bytea) FROM PUBLIC;
        CREATE OR REPLACE FUNCTION {schema}.event_at(wanted bytea) RETURNS SETOF {schema}.hot LANGUAGE plpgsql STABLE ROWS 1 AS $body$
        DECLARE place record;
        BEGIN
            FOR place IN
                SELECT f.topic AS named, f.partition AS numbered, f."offset" AS at, f.piece FROM {schema}.place_of_event($1) f
            LOOP
                IF place.piece IS NULL THEN
                    RETURN QUERY SELECT {listed} FROM {relation_of(seen)} j
                    WHERE j.topic = place.named AND j.partition = place.numbered AND j."offset" = place.at;
                ELSE
                    RETURN QUERY SELECT {listed} FROM {unpacked_of(seen)} j
                    WHERE j.topic = place.named AND j.partition = place.numbered AND j.last_offset = place.piece AND j."offset" = place.at;
                END IF;
            END LOOP;
        END $body$;
        GRANT EXECUTE ON FUNCTION {schema}.place_of_event(bytea), {schema}.event_at(bytea) TO {READER};
        CREATE OR REPLACE VIEW {schema}.commit_runs WITH (security_invoker = true) AS SELECT * FROM {runs_of(seen)}
    """


def _ends(journal: Journal) -> str:
    """How partitions end: the last run, and with what the last record's id begins."""
    packed = packed_of(journal)
    return f"""
        SELECT m.topic, m.partition, run.first_offset, run.beginning, coalesce(hot.beginning, cold.beginning) AS newest
        FROM unnest($1::text[], $2::integer[]) m (topic, partition)
        LEFT JOIN LATERAL (
            SELECT r.first_offset, r.beginning FROM {runs_of(journal)} r WHERE r.topic = m.topic AND r.partition = m.partition
            ORDER BY r.topic DESC, r.partition DESC, r.first_offset DESC LIMIT 1
        ) run ON true
        LEFT JOIN LATERAL (
            SELECT {_FIRST_TEN.format("j.header")} AS beginning FROM {relation_of(journal)} j
            WHERE j.topic = m.topic AND j.partition = m.partition ORDER BY j.topic DESC, j.partition DESC, j."offset" DESC LIMIT 1
        ) hot ON true
        LEFT JOIN LATERAL (
            SELECT {_FIRST_TEN.format("p.header[cardinality(p.header)]")} AS beginning FROM {packed} p
            WHERE hot.beginning IS NULL AND p.topic = m.topic AND p.partition = m.partition
            ORDER BY p.topic DESC, p.partition DESC, p.last_offset DESC LIMIT 1
        ) cold ON true
    """


def _filled(journal: Journal) -> str:
    return f"""
        INSERT INTO {runs_of(journal)}
        SELECT topic, partition, "offset", beginning FROM (
            SELECT topic, partition, "offset", beginning,
                lag(beginning) OVER (PARTITION BY topic, partition ORDER BY "offset") AS before
            FROM (
                SELECT j.topic, j.partition, j."offset", {_FIRST_TEN.format("j.header")} AS beginning FROM {whole_of(journal)} j
                JOIN unnest($1::text[], $2::integer[], $3::bigint[]) m (topic, partition, since)
                    ON j.topic = m.topic AND j.partition = m.partition AND j."offset" >= m.since
            ) told
        ) compared WHERE beginning IS DISTINCT FROM before ON CONFLICT DO NOTHING
    """
