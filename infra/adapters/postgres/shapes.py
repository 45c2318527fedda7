"""Projections as PostgreSQL has them: a schema for each version of each, its relation derived from the row's fields."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from projections.columns import Stored, building, lowering
from projections.journal import Journal
from projections.partial import PartialAggregate
from projections.ports import Projection, family_of
from projections.series import Series
from projections.table import ORGANISATION, Table

READ_SIDE = "read_side"
"""The schema of checkpoints and of what is parked."""
_TYPES = {
    Stored.TEXT: "text",
    Stored.INTEGER: "bigint",
    Stored.BOOLEAN: "boolean",
    Stored.REAL: "double precision",
    Stored.DECIMAL: "numeric",
    Stored.TIME: "timestamp with time zone",
    Stored.BYTES: "bytea",
    Stored.JSON: "jsonb",
}
# In the order of `JournalEntry`.
JOURNAL_COLUMNS = (
    ("topic", "text"), ("partition", "integer"), ("offset", "bigint"), ("stream", "text"), ("version", "bigint"), ("kind", "smallint"),
    ("ce_type", "text"), ("appended_at_ms", "bigint"), ("header", "bytea"), ("value", "bytea"), ("leaf", "bytea"),
)  # fmt: skip
PARTED_BY = 'topic, "offset"'
"""The journal's partitions are ranges of offsets of one topic."""
# Keys sort by their bytes on every machine, whatever the database's language.
_COLLATED = frozenset({"tenant", "id", ORGANISATION, "topic", "stream"})
CHECKPOINTS = f"""
CREATE SCHEMA IF NOT EXISTS {READ_SIDE};
CREATE TABLE IF NOT EXISTS {READ_SIDE}.checkpoints (
    projection text COLLATE "C", topic text COLLATE "C", partition integer,
    next_offset bigint NOT NULL, term bigint NOT NULL, claim_id bytea NOT NULL, epoch bigint NOT NULL,
    PRIMARY KEY (projection, topic, partition)
);
CREATE TABLE IF NOT EXISTS {READ_SIDE}.parked (
    projection text COLLATE "C", topic text COLLATE "C", partition integer, "offset" bigint,
    stream text NOT NULL, version bigint NOT NULL, ce_type text NOT NULL, reason text NOT NULL, behind boolean NOT NULL,
    PRIMARY KEY (projection, topic, partition, "offset")
);
ALTER TABLE {READ_SIDE}.parked ADD COLUMN IF NOT EXISTS tried_by text NOT NULL DEFAULT '';
CREATE TABLE IF NOT EXISTS {READ_SIDE}.builds (
    projection text COLLATE "C" PRIMARY KEY, name text COLLATE "C" NOT NULL, version integer NOT NULL, build integer NOT NULL,
    state text NOT NULL, begun_at timestamptz NOT NULL DEFAULT now(), live_since timestamptz
);
CREATE INDEX IF NOT EXISTS builds_live ON {READ_SIDE}.builds (name) WHERE state = 'live';
INSERT INTO {READ_SIDE}.builds (projection, name, version, build, state, live_since)
SELECT DISTINCT ON (split_part(projection, '.v', 1)) projection, split_part(projection, '.v', 1), split_part(projection, '.v', 2)::integer,
    1, 'live', now()
FROM (SELECT projection FROM {READ_SIDE}.checkpoints WHERE NOT EXISTS (SELECT FROM {READ_SIDE}.builds) GROUP BY projection) before
ORDER BY split_part(projection, '.v', 1), split_part(projection, '.v', 2)::integer DESC;
"""
LIVE = f"(SELECT projection FROM {READ_SIDE}.builds WHERE name = '{{}}' AND state = 'live')"
"""Which build of a projection readers see, as its checkpoints name it: `LIVE.format(name)`."""


@dataclass(frozen=True, slots=True)
class SqlColumn:
    """A column as it is declared."""

    name: str
    type: str
    nullable: bool
    of_key: bool = False

    def declared(self) -> str:
        collated = ' COLLATE "C"' if self.type == "text" and (self.of_key or self.name in _COLLATED) else ""
        return f'"{self.name}" {self.type}{collated}{"" if self.nullable else " NOT NULL"}'


def schema_of(projection: Projection) -> str:
    """The schema of one build of a version."""
    return f"p_{family_of(projection)}_v{projection.version}{'' if projection.build == 1 else f'_b{projection.build}'}"


def relation_of(projection: Projection) -> str:
    """The relation of one build, as SQL names it: what its runner writes."""
    return f'"{schema_of(projection)}"."{projection.name}"'


def view_schema_of(projection: Projection) -> str:
    """The schema of what readers of one version ask."""
    return f"v_{projection.name}_v{projection.version}"


def view_of(projection: Projection) -> str:
    """What readers of a version ask: whichever build of whichever version is live, in this version's columns."""
    return f'"{view_schema_of(projection)}"."{projection.name}"'


def columns_of(projection: Projection) -> Sequence[SqlColumn]:
    """The columns, those of the row first; whose row it is stands in one of its own where the row does not say."""
    if isinstance(projection, Journal):
        return [SqlColumn(name, kind, nullable=False) for name, kind in JOURNAL_COLUMNS]
    if isinstance(projection, PartialAggregate):
        own = [SqlColumn(each.name, _TYPES[each.stored], each.nullable, of_key=each.name in projection.key) for each in projection.columns]
        return [*own, SqlColumn("topic", "text", nullable=False), SqlColumn("partition", "integer", nullable=False)]
    columns = [SqlColumn(column.name, _TYPES[column.stored], column.nullable) for column in projection.columns]
    if isinstance(projection, Table) and not projection.names_its_organisation:
        columns.append(SqlColumn(ORGANISATION, "text", nullable=False))
    return columns


def key_of(projection: Projection) -> Sequence[str]:
    """The columns of the key, in the order in which rows are proven to be the same."""
    if isinstance(projection, Journal):
        return ("topic", "partition", "offset")
    if isinstance(projection, Series):
        return ("tenant", "id", "version", "n", "occurred_at")
    if isinstance(projection, PartialAggregate):
        return (*projection.key, "topic", "partition")
    return ("tenant", "id")


def created(projection: Projection) -> str:
    """The statements that make the relation, and what it stands upon."""
    upon = [_created(projection.memories)] if isinstance(projection, PartialAggregate) else []
    return "; ".join([f'CREATE SCHEMA "{schema_of(projection)}"', *upon, _created(projection)])


def _created(projection: Projection) -> str:
    relation = relation_of(projection)
    columns = ", ".join(column.declared() for column in columns_of(projection))
    key = ", ".join(f'"{name}"' for name in key_of(projection))
    parted = f" PARTITION BY RANGE ({PARTED_BY})" if isinstance(projection, Journal) else ""
    # A row that changes finds room on its own page, so that no index has to hear of it.
    room = " WITH (fillfactor = 70)" if isinstance(projection, Table | PartialAggregate) else ""
    statements = [f"CREATE TABLE {relation} ({columns}, PRIMARY KEY ({key})){parted}{room}"]
    if isinstance(projection, Journal):
        statements.append(indexed(projection))
    if isinstance(projection, Table) and not projection.within:
        statements.append(f"CREATE INDEX ON {relation} ({ORGANISATION}, id, tenant)")
        if projection.done is not None:
            statements.append(indexed_rest(projection))
        statements += indexed_names(projection)
    return "; ".join(statements)


def indexed(journal: Journal) -> str:
    """The statement by which the journal's entries are found by stream: events, and the receipts that owners load with them."""
    return f"CREATE INDEX IF NOT EXISTS journal_by_stream ON {relation_of(journal)} (stream, version) WHERE kind IN (0, 4)"


def indexed_rest(table: Table[Any]) -> str:
    """The statement by which the rows that are not done are found among all others, newest first."""
    return f"CREATE INDEX IF NOT EXISTS {table.name}_not_done ON {relation_of(table)} (id) WHERE {not_done(table)}"


def indexed_names(table: Table[Any]) -> Sequence[str]:
    """The statements by which an organisation's rows are found by what others name them."""
    key = f"{ORGANISATION}, {{0}}, id, tenant"
    return [
        f"CREATE INDEX IF NOT EXISTS {table.name}_by_{name} ON {relation_of(table)} ({key.format(name)})" for name in table.named_by
    ]  # fmt: skip


def not_done(table: Table[Any]) -> str:
    """The condition, spelt as the index has it: a planner takes the index for no other spelling."""
    if table.done is None:
        raise ValueError(f"no row of {table.name} is ever done")
    column, value = table.done
    return f"""\"{column}\" <> '{value}'"""


def names(projection: Projection) -> str:
    """The columns' names, as a list in SQL."""
    return ", ".join(f'"{column.name}"' for column in columns_of(projection))


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """A statement that inserts rows given as an array for each column. `then`: which of them, and what happens to those that are there."""

    into: str
    types: Sequence[str]
    then: str = ""

    def sql(self, first: int = 1) -> str:
        """With the number of its first value."""
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(self.types, start=first))
        return f"INSERT INTO {self.into} SELECT * FROM unnest({arrays}) {self.then}"


class Relation:
    """A table or series, compiled: its statements, and the way from rows to columns and back."""

    def __init__(self, projection: Table[Any] | Series[Any]) -> None:
        columns = columns_of(projection)
        self.projection = projection
        self.name = relation_of(projection)
        self.columns = [column.name for column in columns]
        self.lower = lowering(projection.columns)
        self.build = building(projection.row, projection.columns)
        listed = names(projection)
        changed = ", ".join(f'"{name}" = excluded."{name}"' for name in self.columns if name not in key_of(projection))
        self.select = f"SELECT {listed} FROM {view_of(projection)}"
        self.keyed = f"SELECT {listed} FROM {self.name} JOIN unnest($1::text[], $2::text[]) k (tenant, id) USING (tenant, id)"
        taken = f"ON CONFLICT (tenant, id) DO UPDATE SET {changed}"
        # Entries are never there before.
        self.insert = Insert(f"{self.name} ({listed})", [column.type for column in columns], taken if isinstance(projection, Table) else "")
        self.upsert = self.insert.sql()
        # Many rows go through a table of the connection's own: copied in, they cost the client a third of what arrays do.
        self.stage = f"stage_{schema_of(projection)}"
        self.staged = f'CREATE TEMPORARY TABLE IF NOT EXISTS "{self.stage}" (LIKE {self.name}) ON COMMIT DELETE ROWS'
        self.upsert_staged = f'INSERT INTO {self.name} ({listed}) SELECT {listed} FROM pg_temp."{self.stage}" {taken}'
        self.delete = (
            f"DELETE FROM {self.name} t USING unnest($1::text[], $2::text[]) k (tenant, id) WHERE t.tenant = k.tenant AND t.id = k.id"
        )

    def values(self, row: Any) -> list[Any]:
        """A row's values in the order of `columns`."""
        values = self.lower(row)
        if len(values) < len(self.columns) and isinstance(self.projection, Table):
            values.append(self.projection.organisation(row))
        return values


@functools.cache
def relation(projection: Table[Any] | Series[Any]) -> Relation:
    """A projection's relation."""
    return Relation(projection)
