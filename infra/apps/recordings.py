"""A call's recording as people listen to it: a stereo WAV over the whole call, silent where nothing was kept, read piece by piece."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import structlog

from api.ports import RecordingsUnavailable
from events.sealing import BrokenSeal, KeyErased, KeyRing
from projections.calls import CALL_TIMELINE, CALLS
from projections.queries import Rows
from realtime.audio import BYTES_PER_MS
from realtime.ports import EngineUnavailable, RecordedStretch, RecordingStore
from realtime.recording import pieces, sound

log = structlog.get_logger()

_WINDOW_MS = 5000
_KEPT = frozenset({"recording-kept", "late-recording-kept"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Where a piece lies, and which part of the call it is."""

    name: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSound:
    """`api.ports.Sound`: at most a few pieces of it are in memory at once."""

    duration_ms: int
    pieces: Sequence[Piece]
    store: RecordingStore
    keyring: KeyRing
    _opened: OrderedDict[str, RecordedStretch] = field(default_factory=OrderedDict)

    @property
    def size(self) -> int:
        return sound.size(self.duration_ms)

    async def read(self, first: int, last: int) -> AsyncIterator[bytes]:
        """Bytes `first` to `last` of the WAV. Raises RecordingsUnavailable."""
        if first < sound.HEAD_BYTES:
            yield sound.head(self.duration_ms)[first : last + 1]
        per_ms = BYTES_PER_MS * sound.FRAME_BYTES
        at, end = max(0, first - sound.HEAD_BYTES), last + 1 - sound.HEAD_BYTES
        while at < end:
            from_ms = at // per_ms
            to_ms = min(from_ms + _WINDOW_MS, self.duration_ms)
            frames = sound.frames(await self._within(from_ms, to_ms), from_ms, to_ms)
            told = frames[at - from_ms * per_ms : end - from_ms * per_ms]
            yield told
            at += len(told)

    async def _within(self, from_ms: int, to_ms: int) -> Sequence[RecordedStretch]:
        return [await self.open(piece) for piece in self.pieces if piece.from_ms < to_ms and piece.to_ms > from_ms]

    async def open(self, piece: Piece) -> RecordedStretch:
        """Raises RecordingsUnavailable or KeyErased."""
        if piece.name not in self._opened:
            try:
                content = await self.store.get(piece.name)
                found = None if content is None else pieces.unsealed(content, piece.name, self.keyring)
            except (OSError, EngineUnavailable, BrokenSeal) as cause:
                raise RecordingsUnavailable(f"The recording's piece {piece.name} cannot be read ({cause}).") from cause
            if found is None:
                # It is on the log and not in the store: the rest is worth hearing.
                log.error("recordings.piece_missing", name=piece.name)
                found = RecordedStretch(from_ms=piece.from_ms, caller=b"", agent=b"")
            while len(self._opened) > 1:
                self._opened.popitem(last=False)
            self._opened[piece.name] = RecordedStretch(from_ms=piece.from_ms, caller=found.caller, agent=found.agent)
        return self._opened[piece.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecordings:
    """`api.ports.Recordings` over the store of sealed pieces; what the call's facts say is on record counts."""

    rows: Rows
    store: RecordingStore
    keyring: KeyRing

    async def sound(self, organisation_id: str, call_id: str) -> StoredSound | None:
        call = await self.rows.get(CALLS, organisation_id, call_id)
        if call is None or call.recording_object is None:
            return None
        entries = await self.rows.entries(CALL_TIMELINE, organisation_id, call_id)
        kept = [(each.reason or "", each.at_ms or 0, each.ended_ms or 0) for each in entries if each.kind in _KEPT]
        placed = _placed(kept)
        if not placed:
            return None
        last_ms = max(piece.to_ms for piece in placed)
        found = StoredSound(duration_ms=max(call.duration_ms or 0, last_ms), pieces=placed, store=self.store, keyring=self.keyring)
        try:
            await found.open(placed[0])
        except KeyErased:
            return None
        return found

    async def wav(self, organisation_id: str, call_id: str) -> bytes | None:
        """The whole of it at once, for a short call."""
        found = await self.sound(organisation_id, call_id)
        return None if found is None else b"".join([part async for part in found.read(0, found.size - 1)])


def _placed(kept: Sequence[tuple[str, int, int]]) -> Sequence[Piece]:
    """Pieces on one line of time. A call that went on over another media stream may count its time anew there."""
    placed: list[Piece] = []
    moved_ms, end_ms, stream = 0, 0, ""
    for name, from_ms, to_ms in kept:
        own = name.rpartition("-")[0]
        if own != stream:
            stream, moved_ms = own, end_ms if from_ms < end_ms else 0
        placed.append(Piece(name=name, from_ms=from_ms + moved_ms, to_ms=to_ms + moved_ms))
        end_ms = max(end_ms, to_ms + moved_ms)
    return placed
