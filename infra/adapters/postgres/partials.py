"""Partial rows in PostgreSQL: what is added to them, each by its one writer, and how readers combine them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from infra.adapters.postgres.connections import Connection
from infra.adapters.postgres.shapes import Insert, columns_of, key_of, names, relation_of, view_of
from projections.columns import building, lowering
from projections.partial import Combine, PartialAggregate
from projections.ports import Added, Place
from projections.table import Key

_KEPT = {Combine.SUM: 't."{0}" + excluded."{0}"', Combine.MAX: 'greatest(t."{0}", excluded."{0}")',
         Combine.MIN: 'least(t."{0}", excluded."{0}")'}  # fmt: skip


class Partials:
    """An aggregate's relation, compiled."""

    def __init__(self, aggregate: PartialAggregate[Any, Any]) -> None:
        self.aggregate = aggregate
        self.lower = lowering(aggregate.columns)
        self.build = building(aggregate.row, aggregate.columns)
        columns = columns_of(aggregate)
        kept = ", ".join(f'"{name}" = {_KEPT[how].format(name)}' for name, how in aggregate.combined.items())
        key = ", ".join(f'"{name}"' for name in key_of(aggregate))
        self.insert = Insert(
            f"{relation_of(aggregate)} AS t ({names(aggregate)})", [column.type for column in columns],
            f"ON CONFLICT ({key}) DO UPDATE SET {kept}",
        )  # fmt: skip
        self.add = self.insert.sql()
        # Without topic and partition, which are the last.
        self._types = [(column.name, column.type) for column in columns][: len(aggregate.columns)]

    def combined(self, by: str | None, where: Sequence[str], *, after: bool) -> str:
        """The statement of rows of a tenant, $1, where columns of the key are as the next values say, one for each value of `by`.

        `after`: only those behind the next value; the last one says how many at most.
        """
        combined = self.aggregate.combined
        kept = ["tenant", *where] if by is None else ["tenant", *where, by]
        shown = [
            f'{combined[name].value}("{name}")::{kind} AS "{name}"' if name in combined
            else f'"{name}"' if name in kept else f"''::text AS \"{name}\""
            for name, kind in self._types
        ]  # fmt: skip
        conditions = [f'"{name}" = ${n}' for n, name in enumerate(["tenant", *where], start=1)]
        if after:
            conditions.append(f'"{by}" > ${len(conditions) + 1}')
        grouped = ", ".join(f'"{name}"' for name in kept)
        return (
            f"SELECT {', '.join(shown)} FROM {view_of(self.aggregate)} WHERE {' AND '.join(conditions)} GROUP BY {grouped} "
            f"ORDER BY {grouped} LIMIT ${len(conditions) + 1}"
        )


@functools.cache
def partials(aggregate: PartialAggregate[Any, Any]) -> Partials:
    """An aggregate's relation."""
    return Partials(aggregate)


def records_of(aggregate: PartialAggregate[Any, Any], added: Mapping[Key, Added]) -> list[list[Any]]:
    """What streams add, in the order of the keys, so that no two who add wait for each other in a ring."""
    by_place: dict[Place, list[Any]] = {}
    for each in added.values():
        by_place.setdefault(each.place, []).extend(each.rows)
    lower = partials(aggregate).lower
    return [[*lower(row), *place] for place, rows in sorted(by_place.items()) for row in aggregate.combine(rows)]


async def add(connection: Connection, aggregate: PartialAggregate[Any, Any], added: Mapping[Key, Added]) -> None:
    """Add what streams add."""
    if records := records_of(aggregate, added):
        await connection.execute(partials(aggregate).add, *(list(column) for column in zip(*records, strict=True)))
