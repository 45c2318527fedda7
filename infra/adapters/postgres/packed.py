"""The journal's packed parts: pieces of many records, compressed column by column, read through the same views as what is not packed.

A piece is a row of arrays, which PostgreSQL compresses itself: so it is PostgreSQL that opens it, for whoever may see what is in it.
"""

from infra.adapters.postgres.connections import Connection
from infra.adapters.postgres.shapes import JOURNAL_COLUMNS, names, relation_of, schema_of, view_schema_of
from infra.adapters.postgres.walls import READER, visible
from projections.journal import JOURNAL, Journal
from projections.ports import Projection

# The columns of a piece that are of all its records; the others are arrays.
_COMMON = ("topic", "partition")
_ARRAYS = tuple((name, kind) for name, kind in JOURNAL_COLUMNS if name not in _COMMON)
NEWEST = f"{2**62}::bigint"
"""Beyond every offset."""


def packed_of(journal: Journal) -> str:
    """The relation of a build's pieces."""
    return f'"{schema_of(journal)}".packed'


def streams_of(journal: Journal) -> str:
    """Which pieces a packed stream lies in."""
    return f'"{schema_of(journal)}".packed_streams'


def packing_of(journal: Journal) -> str:
    """The parts that are being packed, and how far: until all of one is, nobody reads its pieces."""
    return f'"{schema_of(journal)}".packing'


def unpacked_of(journal: Journal) -> str:
    """A build's pieces opened, record by record; also of parts that are being packed."""
    return f'"{schema_of(journal)}".unpacked'


def whole_of(journal: Journal) -> str:
    """All of a build, packed or not."""
    return f'"{schema_of(journal)}".whole'


HOT = f'"{view_schema_of(JOURNAL)}".hot'
"""What readers ask for what is not packed."""
STREAMS = f'"{view_schema_of(JOURNAL)}".packed_streams'
AFTER = f'"{view_schema_of(JOURNAL)}".packed_after'
"""(topic, partition, offset, most, events only): packed records behind an offset, in order."""
BEFORE = f'"{view_schema_of(JOURNAL)}".packed_before'
"""The same, up to an offset, the last first."""
OF_STREAM = f'"{view_schema_of(JOURNAL)}".packed_of_stream'
"""(stream, version): packed events and receipts of a stream from a version on, in no order."""


async def all_of(connection: Connection, projection: Projection) -> str:
    """What a build's rows are looked at by who looks at all of them, in SQL: with what is packed, where anything can be."""
    if isinstance(projection, Journal) and await connection.fetchval("SELECT to_regclass($1)", whole_of(projection)) is not None:
        return whole_of(projection)
    return relation_of(projection)


def made(journal: Journal) -> str:
    """The statements that make what a build needs to have packed parts. Idempotent."""
    packed, streams, unpacked, whole = packed_of(journal), streams_of(journal), unpacked_of(journal), whole_of(journal)
    packing = packing_of(journal)
    arrays = ", ".join(f'"{name}" {kind}[] NOT NULL' for name, kind in _ARRAYS)
    opened, listed = ", ".join(f'p."{name}"' for name, _ in _ARRAYS), ", ".join(f'"{name}"' for name, _ in _ARRAYS)
    chosen = ", ".join(
        f'u."{name}" COLLATE "C" AS "{name}"' if name == "stream" else f'{"p" if name in _COMMON else "u"}."{name}"'
        for name, _ in JOURNAL_COLUMNS
    )
    return f"""
        CREATE TABLE IF NOT EXISTS {packed} (
            topic text COLLATE "C" NOT NULL, partition integer NOT NULL, part text NOT NULL,
            first_offset bigint NOT NULL, last_offset bigint NOT NULL, {arrays}, PRIMARY KEY (topic, partition, last_offset)
        );
        CREATE TABLE IF NOT EXISTS {streams} (
            stream text COLLATE "C" NOT NULL, topic text COLLATE "C" NOT NULL, partition integer NOT NULL, part text NOT NULL,
            begins boolean NOT NULL, pieces bigint[] NOT NULL, PRIMARY KEY (stream, topic, partition, part)
        );
        CREATE TABLE IF NOT EXISTS {packing} (
            part text COLLATE "C" PRIMARY KEY, topic text COLLATE "C" NOT NULL, partition integer NOT NULL, behind bigint NOT NULL,
            records bigint NOT NULL
        );
        CREATE OR REPLACE VIEW {unpacked} WITH (security_barrier = true) AS
            SELECT * FROM (
                SELECT {chosen}, p.part, p.last_offset FROM {packed} p CROSS JOIN LATERAL unnest({opened}) u ({listed})
            ) opened WHERE current_user <> '{READER}' OR {visible(journal)};
        CREATE OR REPLACE VIEW {whole} WITH (security_invoker = true) AS
            SELECT {names(journal)} FROM {relation_of(journal)} UNION ALL
            SELECT {names(journal)} FROM {unpacked} WHERE part NOT IN (SELECT part FROM {packing});
        GRANT SELECT (topic, partition, part, first_offset, last_offset) ON {packed} TO {READER};
        GRANT SELECT (part) ON {packing} TO {READER};
        GRANT SELECT ON {unpacked}, {streams}, {whole} TO {READER};
        ALTER TABLE {streams} ENABLE ROW LEVEL SECURITY;
        DROP POLICY IF EXISTS of_one_organisation ON {streams};
        CREATE POLICY of_one_organisation ON {streams} FOR SELECT TO {READER} USING ({visible(journal)})
    """


def shown(journal: Journal, build: int) -> str:
    """The statements by which a version's readers see a build: whole, and in the ways that find a few records among packed ones."""
    seen = Journal(name=journal.name, version=journal.version, build=build)
    listed, packed, schema = names(journal), packed_of(seen), f'"{view_schema_of(journal)}"'
    done = f"part NOT IN (SELECT part FROM {packing_of(seen)})"
    piece = f"SELECT {listed} FROM {unpacked_of(seen)} WHERE topic = $1 AND partition = $2 AND last_offset = piece AND (NOT $5 OR kind = 0)"
    place = "topic text, partition integer, behind bigint, most bigint, events_only boolean"
    after = _walking(
        f"{schema}.packed_after({place})",
        f"SELECT last_offset FROM {packed} WHERE topic = $1 AND partition = $2 AND last_offset > $3 AND {done} ORDER BY last_offset",
        f'{piece} AND "offset" > $3 ORDER BY "offset"',
    )
    before = _walking(
        f"{schema}.packed_before({place})",
        f"SELECT last_offset FROM {packed} WHERE topic = $1 AND partition = $2 AND first_offset <= $3 AND {done} ORDER BY last_offset DESC",
        f'{piece} AND "offset" <= $3 ORDER BY "offset" DESC',
    )
    return f"""
        {made(seen)};
        CREATE SCHEMA IF NOT EXISTS {schema};
        CREATE OR REPLACE VIEW {schema}.journal WITH (security_invoker = true) AS SELECT {listed} FROM {whole_of(seen)};
        CREATE OR REPLACE VIEW {schema}.hot WITH (security_invoker = true) AS SELECT {listed} FROM {relation_of(seen)};
        CREATE OR REPLACE VIEW {schema}.packed_streams WITH (security_invoker = true) AS SELECT * FROM {streams_of(seen)} WHERE {done};
        CREATE OR REPLACE VIEW {schema}.packing WITH (security_invoker = true) AS SELECT part FROM {packing_of(seen)};
        {after};
        {before};
        CREATE OR REPLACE FUNCTION {schema}.packed_of_stream(wanted text, since bigint) RETURNS SETOF {schema}.hot
        LANGUAGE plpgsql STABLE ROWS 50 AS $body$
        DECLARE place record;
        BEGIN
            FOR place IN
                SELECT s.topic AS named, s.partition AS numbered, unnest(s.pieces) AS piece FROM {streams_of(seen)} s
                WHERE s.stream = $1 AND {done}
            LOOP
                RETURN QUERY SELECT {listed} FROM {unpacked_of(seen)} j
                WHERE j.topic = place.named AND j.partition = place.numbered AND j.last_offset = place.piece AND j.stream = $1
                    AND j.version >= $2 AND j.kind IN (0, 4);
            END LOOP;
        END $body$;
        GRANT USAGE ON SCHEMA {schema} TO {READER};
        GRANT SELECT ON {schema}.journal, {schema}.hot, {schema}.packed_streams TO {READER}
    """


def _walking(function: str, pieces: str, of_a_piece: str) -> str:
    """A function that opens one piece after the other until it has as much as was asked for."""
    return f"""
        CREATE OR REPLACE FUNCTION {function} RETURNS SETOF {HOT} LANGUAGE plpgsql STABLE ROWS 50 AS $body$
        #variable_conflict use_column
        DECLARE piece bigint; given bigint := 0; more bigint;
        BEGIN
            IF $4 <= 0 THEN RETURN; END IF;
            FOR piece IN {pieces} LOOP
                RETURN QUERY {of_a_piece} LIMIT $4 - given;
                GET DIAGNOSTICS more = ROW_COUNT;
                given := given + more;
                EXIT WHEN given >= $4;
            END LOOP;
        END $body$
    """
