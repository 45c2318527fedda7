"""The rows used last, kept at hand: a fold needs each of them as the one before left it."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, TypeAlias

from projections.folding import Outcome
from projections.ports import Store
from projections.table import Key, Table

_MOST = 20_000
Before: TypeAlias = Mapping[Table[Any], Mapping[Key, Any]]
"""The rows that facts are folded upon."""


class RecentRows:
    """The rows used last. They stay true for as long as every write succeeds: nobody else writes them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: dict[Table[Any], dict[Key, Any]] = {}

    async def load(self, keys: Mapping[Table[Any], set[Key]]) -> Before:
        """Rows by table and key, as the last group left them; None where there is none."""
        for table, wanted in keys.items():
            cached = self._cached.setdefault(table, {})
            missing = [key for key in wanted if key not in cached]
            if missing:
                found = await self._store.rows(table, missing)
                for key in missing:
                    cached[key] = found.get(key)
        return {table: {key: self._cached[table][key] for key in wanted} for table, wanted in keys.items()}

    def put_back(self, before: Before) -> None:
        """What was kept since is not so."""
        for table, rows in before.items():
            self._cached[table] |= rows

    def keep(self, outcome: Outcome) -> None:
        """Take in what was written, as the newest; forget the oldest."""
        for table, changed in outcome.rows.items():
            cached = self._cached[table]
            for key, folded in changed.items():
                cached.pop(key, None)
                cached[key] = folded.row
            if len(cached) > _MOST:
                for key in list(islice(cached, len(cached) - _MOST)):
                    del cached[key]
