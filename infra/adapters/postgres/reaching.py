"""Rows together with how far what they are made of was read: one statement, so of one moment."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from events.streams import partition_of
from infra.adapters.postgres.shapes import READ_SIDE
from infra.adapters.postgres.walls import Asked
from projections.queries import seen

# Readers of a version that the live build has not all columns of see one that is kept warm: so the least of them all.
_REACH = f"""
SELECT string_agg(told, ';') FROM (
    SELECT topic || ':' || string_agg(partition || '/' || reached, ',' ORDER BY partition) AS told FROM (
        SELECT topic, partition, min(next_offset) AS reached FROM {READ_SIDE}.checkpoints
        WHERE projection IN (SELECT projection FROM {READ_SIDE}.builds WHERE name = '{{}}' AND state IN ('live', 'warm'))
        GROUP BY topic, partition
    ) least GROUP BY topic
) topics
"""
_NUMBER, _TOLD = "number_of_the_row", "reached_by_them"


def with_reach(sql: str, name: str) -> str:
    """The same question of a projection's rows, with how far the projection was, which is told also where there are none."""
    return (
        f"SELECT found.*, CASE WHEN coalesce({_NUMBER}, 1) = 1 THEN {_TOLD} END AS {_TOLD} FROM ({_REACH.format(name)}) reach ({_TOLD}) "
        f"LEFT JOIN (SELECT row_number() OVER () AS {_NUMBER}, asked.* FROM ({sql}) asked) found ON true ORDER BY {_NUMBER}"
    )


async def fetched(asked: Asked, sql: str, values: Sequence[object], name: str, stream: str | None = None) -> Sequence[asyncpg.Record]:
    """The rows of a question, and a note in `seen`. `stream`: whose rows alone they are, so that one partition is told, not all."""
    noted = seen.get()
    if noted is None:
        return await asked.fetch(sql, *values)
    found = await asked.fetch(with_reach(sql, name), *values)
    told: str = found[0][_TOLD] or ""
    noted.note(told if stream is None or not told else _of_one(told, stream))
    return found if found[0][_NUMBER] is not None else ()


def plain(record: asyncpg.Record) -> dict[str, Any]:
    """A row without what was added to it."""
    return {name: value for name, value in record.items() if name not in {_NUMBER, _TOLD}}


def _of_one(told: str, stream: str) -> str:
    """The stream's partition, of each topic's."""
    chosen = []
    for part in told.split(";"):
        topic, _, entries = part.partition(":")
        reached = entries.split(",")
        chosen.append(f"{topic}:{reached[partition_of(stream.encode(), len(reached))]}")
    return ";".join(chosen)
