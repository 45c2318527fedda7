"""Sorted batches that wait to be written: bounded by their records, and taken in groups as large as there is to take."""

import asyncio
from collections import deque

from projections.sorting import Sorted


class Waiting:
    """One puts, one takes. Whoever puts waits while `most` records wait; a single batch may be larger."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: deque[Sorted] = deque()
        self._records = 0
        self._ended = False
        self._moved = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, batch: Sorted) -> None:
        while self._records >= self._most:
            self._room.clear()
            await self._room.wait()
        self._batches.append(batch)
        self._records += batch.records
        self._moved.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._ended = True
        self._moved.set()

    async def group(self) -> Sorted | None:
        """What came first, and all that is ready behind it; None at the end."""
        while not self._batches:
            if self._ended:
                return None
            self._moved.clear()
            await self._moved.wait()
        group = self._batches.popleft()
        while self._batches and group.records < self._most:
            group.add(self._batches.popleft())
        self._records = sum(batch.records for batch in self._batches)
        self._room.set()
        return group
