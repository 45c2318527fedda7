"""The counts of a series over time, as SQL says them: which there are, what each level adds up, and which of them are counted when asked.

Whoever appends notes the minutes that it touched. Those are counted from their entries whenever somebody asks, until they are kept: so
counts are never behind, however they are kept, and doing it twice, late, or after a crash gives the same.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from infra.adapters.postgres.shapes import relation_of, schema_of
from projections.series import OverTime, Series

LEVELS = ("minute", "hour", "day")
FINER = (*pairwise(LEVELS),)
"""Each level that is added up of a finer one, behind that."""


def over(series: Series[Any]) -> OverTime:
    """How it is looked at."""
    if series.over_time is None:
        raise TypeError(f"{series.name} is not looked at by time")
    return series.over_time


def kept_of(series: Series[Any], level: str) -> str:
    """Where the counts of a level are kept."""
    return f'"{schema_of(series)}"."{series.name}_{level}"'


def counted_of(series: Series[Any], level: str) -> str:
    """The view of what is kept, and of what is counted when it is asked."""
    return f'"{schema_of(series)}"."{series.name}_by_{level}"'


def noted_of(series: Series[Any]) -> str:
    """The minutes that are to be counted anew."""
    return f'"{schema_of(series)}"."{series.name}_noted"'


def gone_of(series: Series[Any]) -> str:
    """The time before which everything was dropped: its counts stay as they were then."""
    return f'"{schema_of(series)}"."{series.name}_gone"'


def remembered(series: Series[Any]) -> Sequence[str]:
    """The statements that make what is noted of a series."""
    return [
        f"CREATE TABLE IF NOT EXISTS {noted_of(series)} (bucket timestamptz NOT NULL)",
        f"CREATE TABLE IF NOT EXISTS {gone_of(series)} (before timestamptz NOT NULL)",
    ]


def not_gone(series: Series[Any]) -> str:
    """The condition of the minutes of which all entries are still there."""
    return f"bucket >= coalesce((SELECT max(before) FROM {gone_of(series)}), '-infinity')"


def names_of(series: Series[Any]) -> list[str]:
    """The columns of a count."""
    of = over(series)
    return ["bucket", "tenant", *of.by, "entries", *(f"{name}_sum" for name in of.sums), *(f"{name}_max" for name in of.largest)]


def cut(what: str, level: str) -> str:
    """The minute, hour or day (UTC) of a time."""
    return f"date_trunc('{level}', {what}, 'UTC')"


def measures(of: OverTime) -> str:
    """What is counted of entries."""
    sums = [f'coalesce(sum("{name}"), 0)::numeric AS {name}_sum' for name in of.sums]
    return ", ".join(["count(*)::bigint AS entries", *sums, *(f'max("{name}") AS {name}_max' for name in of.largest)])


def added(of: OverTime) -> str:
    """What is added up of finer counts."""
    sums = [f"sum({name}_sum)::numeric AS {name}_sum" for name in of.sums]
    return ", ".join(["sum(entries)::bigint AS entries", *sums, *(f"max({name}_max) AS {name}_max" for name in of.largest)])


def of_entries(series: Series[Any], buckets: str) -> str:
    """Counts of some minutes from their entries, found by their time."""
    by = ", ".join(["b.bucket", "e.tenant", *(f'e."{name}"' for name in over(series).by)])
    return (
        f"SELECT {by}, {measures(over(series))} FROM {buckets} b JOIN {relation_of(series)} e "
        f"ON e.occurred_at >= b.bucket AND e.occurred_at < b.bucket + INTERVAL '1 minute' GROUP BY {by}"
    )


def of_counts(series: Series[Any], finer: str, level: str, buckets: str) -> str:
    """Counts of some hours or days from finer ones."""
    by = ", ".join(["b.bucket", "c.tenant", *(f'c."{name}"' for name in over(series).by)])
    return (
        f"SELECT {by}, {added(over(series))} FROM {buckets} b JOIN {finer} c "
        f"ON c.bucket >= b.bucket AND c.bucket < b.bucket + INTERVAL '1 {level}' GROUP BY {by}"
    )


def views(series: Series[Any]) -> Sequence[str]:
    """The statements that show what is kept, and in place of what is noted what it is now."""
    finer, statements, listed = "", [], ", ".join(names_of(series))
    for level in LEVELS:
        touched = f"(SELECT DISTINCT {cut('bucket', level)} AS bucket FROM {noted_of(series)})"
        fresh = of_counts(series, finer, level, touched) if finer else of_entries(series, touched)
        statements.append(
            f"CREATE VIEW {counted_of(series, level)} AS SELECT {listed} FROM {kept_of(series, level)} "
            f"WHERE bucket NOT IN (SELECT bucket FROM {touched} noted) UNION ALL {fresh}"
        )
        finer = counted_of(series, level)
    return statements
