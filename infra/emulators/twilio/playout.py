"""The carrier's playout buffer: what was sent ahead is played in real time, marks come back, a clear empties it."""

from collections import deque
from dataclasses import dataclass, field

FRAME_BYTES = 160
SILENCE = b"\xff" * FRAME_BYTES
# The carrier warns (31931) and drops what lies beyond ten minutes.
LIMIT_BYTES = 10 * 60 * 8000
BUFFER_FULL = 31931


@dataclass(slots=True)
class Playout:
    """Bytes wait here for their 20 ms tick. Positions count bytes ever queued, so that a mark knows what must play before it."""

    queued: bytearray = field(default_factory=bytearray)
    played_bytes: int = 0
    marks: deque[tuple[int, str]] = field(default_factory=deque)
    dropped_bytes: int = 0
    warnings: list[int] = field(default_factory=list)
    """Codes of the carrier's own warnings, one each time that a buffer is full which was not."""

    def add(self, mulaw: bytes) -> None:
        room = LIMIT_BYTES - len(self.queued)
        if room < len(mulaw) and room > 0:
            self.warnings.append(BUFFER_FULL)
        self.queued += mulaw[:room]
        self.dropped_bytes += max(0, len(mulaw) - room)

    def mark(self, name: str) -> None:
        self.marks.append((self.played_bytes + len(self.queued), name))

    def clear(self) -> None:
        """Forget the audio; every mark outstanding comes back at the next tick, as on the real line."""
        self.queued.clear()
        self.marks = deque((self.played_bytes, name) for _, name in self.marks)

    def tick(self) -> tuple[bytes | None, list[str]]:
        """Play 20 ms: the frame (None when there is nothing to play) and the marks that are due."""
        frame: bytes | None = None
        if self.queued:
            taken = bytes(self.queued[:FRAME_BYTES])
            del self.queued[:FRAME_BYTES]
            self.played_bytes += len(taken)
            frame = taken + SILENCE[len(taken) :]
        due: list[str] = []
        while self.marks and self.marks[0][0] <= self.played_bytes:
            due.append(self.marks.popleft()[1])
        return frame, due
