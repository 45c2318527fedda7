"""Two builds of a projection, row by row: what differs, of which keys and in which columns."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from infra.adapters.postgres.connections import Connection, Pool, raising
from infra.adapters.postgres.packed import all_of
from infra.adapters.postgres.rows import count_of, digest_of
from infra.adapters.postgres.shapes import READ_SIDE, columns_of, key_of
from projections.ports import Projection, StoreUnavailable, named

MOST = 1_000
"""Differing rows that are told of."""
_LOOKS = 5
_BETWEEN_SECONDS = 0.2
_SECONDS = 3600.0
_PLACES = f"SELECT topic, partition, next_offset FROM {READ_SIDE}.checkpoints WHERE projection = $1 AND next_offset > 0 ORDER BY 1, 2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """A row that is not the same in both; `columns` are those that differ, none where it is in one of them only."""

    key: tuple[str, ...]
    where: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`digests` are of both, the old one first, where they stood at the same place of the log. Columns of one only are not compared.

    `cut`: more rows differ than are told of.
    """

    old: str
    new: str
    rows: tuple[int, int]
    differing: tuple[Differing, ...]
    cut: bool
    columns_of_one: tuple[str, ...]
    digests: tuple[str, str] | None

    @property
    def same(self) -> bool:
        return not self.differing and not self.columns_of_one


async def compare(pool: Pool, old: Projection, new: Projection, *, most: int = MOST) -> Comparison:
    """Look at both as they are at one moment; while they are folded one may be ahead, so what differs is looked at again.

    What differs each time is told. Raises StoreUnavailable.
    """
    compared = _Compared(old, new)
    with raising(StoreUnavailable):
        async with pool.acquire() as connection:
            rows, at_one_place, differing = await compared.look(connection, None, most)
            digests = None
            for _ in range(_LOOKS):
                if at_one_place or not differing:
                    break
                await asyncio.sleep(_BETWEEN_SECONDS)
                _, at_one_place, differing = await compared.look(connection, differing, most)
            if at_one_place:
                digests = await compared.digests(connection)
    return Comparison(
        old=named(old), new=named(new), rows=rows, differing=tuple(differing[:most]), cut=len(differing) > most,
        columns_of_one=compared.columns_of_one, digests=digests,
    )  # fmt: skip


class _Compared:
    def __init__(self, old: Projection, new: Projection) -> None:
        before, after = ({each.name: each.type for each in columns_of(one)} for one in (old, new))
        self._old, self._new = old, new
        self._key = key_of(new)
        self.columns_of_one = tuple(sorted(name for name, _ in before.items() ^ after.items()))
        common = [name for name in after if name in before and name not in self.columns_of_one and name not in self._key]
        self._types = [after[name] for name in self._key]
        joined = " AND ".join(f'a."{name}" = b."{name}"' for name in self._key)
        first = self._key[0]
        each = ", ".join(f"""CASE WHEN a."{name}" IS DISTINCT FROM b."{name}" THEN '{name}' END""" for name in common)
        differ = " OR ".join(f'a."{name}" IS DISTINCT FROM b."{name}"' for name in common) or "false"
        keys = ", ".join(f'coalesce(a."{name}", b."{name}") AS "{name}"' for name in self._key)
        texts = ", ".join(f'coalesce(a."{name}", b."{name}")::text' for name in self._key)
        self._sql = (
            f"SELECT {keys}, CASE WHEN a.\"{first}\" IS NULL THEN 'new' WHEN b.\"{first}\" IS NULL THEN 'old' ELSE 'both' END AS where_, "
            f'CASE WHEN a."{first}" IS NULL OR b."{first}" IS NULL THEN \'{{{{}}}}\'::text[] '
            f"ELSE array_remove(ARRAY[{each or 'NULL'}]::text[], NULL) END AS columns_, ARRAY[{texts}] AS key_ "
            f'FROM {{a}} a FULL JOIN {{b}} b ON {joined} WHERE a."{first}" IS NULL OR b."{first}" IS NULL OR {differ} LIMIT {{limit}}'
        )

    async def look(
        self, connection: Connection, again: Sequence[Differing] | None, most: int
    ) -> tuple[tuple[int, int], bool, list[Differing]]:
        """Rows of both, whether they stand at one place, and what differs; of those that differed before, if they are given."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            places = [await connection.fetch(_PLACES, named(one)) for one in (self._old, self._new)]
            a, b = await all_of(connection, self._old), await all_of(connection, self._new)
            values: list[list[str]] = []
            counts = (0, 0)
            if again is None:
                counts = (await count_of(connection, self._old), await count_of(connection, self._new))
            else:
                values = [list(column) for column in zip(*(each.key for each in again), strict=True)]
                wanted = ", ".join(f"${n}::text[]" for n in range(1, len(self._key) + 1))
                listed = ", ".join(f'unnested."{name}"::{kind}' for name, kind in zip(self._key, self._types, strict=True))
                names = ", ".join(f'"{name}"' for name in self._key)
                only = f"WHERE ({names}) IN (SELECT {listed} FROM unnest({wanted}) unnested ({names}))"
                a, b = f"(SELECT * FROM {a} {only})", f"(SELECT * FROM {b} {only})"
            found = await connection.fetch(self._sql.format(a=a, b=b, limit=most + 1), *values, timeout=_SECONDS)
        differing = [Differing(key=tuple(each["key_"]), where=each["where_"], columns=tuple(each["columns_"])) for each in found]
        return counts, places[0] == places[1], differing

    async def digests(self, connection: Connection) -> tuple[str, str] | None:
        """Of both, if they are at one place still."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if await connection.fetch(_PLACES, named(self._old)) != await connection.fetch(_PLACES, named(self._new)):
                return None
            return await digest_of(connection, self._old), await digest_of(connection, self._new)
