"""Pieces of a recording on their way to the store: sealed at once, bounded in number, each a fact when it lies there."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable

import structlog

from events.calls.recording import RecordingKept
from realtime.audio import BYTES_PER_MS
from realtime.ports import RecordedStretch, RecordingStore
from realtime.recording import pieces

log = structlog.get_logger()

# A minute of talk; while the store is away for longer, the oldest of it is lost, and counted.
_MOST_WAITING = 12
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0)
_LAST_SECONDS = 10.0

Seal = Callable[[str, RecordedStretch], bytes]
"""(name, piece) → the object."""


class Shelving:
    """One call's pieces. `told` is given a fact for each one that lies in the store; `kept` says whether there was any."""

    def __init__(
        self,
        store: RecordingStore,
        seal: Seal,
        told: Callable[[RecordingKept], None],
        counters: Counter[str],
        *,
        call_id: str,
        stream_sid: str,
    ) -> None:
        self._store, self._seal, self._told, self._counters = store, seal, told, counters
        self._call_id, self._stream_sid = call_id, stream_sid
        self._waiting: deque[tuple[RecordingKept, bytes]] = deque()
        self._work, self._empty = asyncio.Event(), asyncio.Event()
        self._empty.set()
        self.kept = False

    def take(self, piece: RecordedStretch) -> None:
        """Seal a piece and queue it; nothing of it stays in clear."""
        name = pieces.name_of(self._call_id, self._stream_sid, piece.from_ms)
        content = self._seal(name, piece)
        to_ms = piece.from_ms + len(piece.caller) // BYTES_PER_MS
        fact = RecordingKept(object=name, from_ms=piece.from_ms, to_ms=to_ms, digest=pieces.digest_of(content))
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.popleft()
            self._counters["recording-pieces-lost"] += 1
        self._waiting.append((fact, content))
        self._empty.clear()
        self._work.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                await self._shelve(*self._waiting[0])
            self._empty.set()

    async def finish(self) -> None:
        """Wait until everything lies in the store, as long as that is worth waiting for."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._empty.wait()
        except TimeoutError:
            self._counters["recording-pieces-lost"] += len(self._waiting)
            log.warning("the end of a recording could not be kept", call_id=self._call_id, pieces=len(self._waiting))

    async def _shelve(self, fact: RecordingKept, content: bytes) -> None:
        for failures in range(1_000_000):
            try:
                await self._store.put(fact.object, content)
            except OSError as cause:
                self._counters["recording-puts-failed"] += 1
                log.warning("a piece of a recording could not be kept", call_id=self._call_id, cause=str(cause))
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                if not self._waiting or self._waiting[0][0] is not fact:
                    return
            else:
                break
        self.kept = True
        self._told(fact)
        if self._waiting and self._waiting[0][0] is fact:
            self._waiting.popleft()
