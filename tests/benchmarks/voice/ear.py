"""Where the agent sounds: the carrier's playout buffer, 40 ± 20 ms away, with its marks, its gaps, and the words that have sounded."""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.benchmarks.voice.words import Dictionary, Reader

_AWAY_SECONDS: Final = (0.02, 0.06)
# So far back a voice may go to say a word again from its beginning.
_BACK_WORDS: Final = 4


@dataclass(slots=True)
class Ear:
    """`gaps` counts how often the buffer ran dry inside a reply. Times are seconds of the machine's clock."""

    agent: Dictionary
    draws: random.Random
    gaps: int = 0
    dry_at: float = 0.0
    _reply: Sequence[str] = ()
    _reached: int = 0
    _fresh: bool = True
    _reader: Reader = field(init=False)
    _sent: list[tuple[str, int]] = field(default_factory=list)
    _received: int = 0
    _marks: deque[tuple[float, str]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._reader = Reader(self.agent)

    def expect(self, reply: Sequence[str]) -> None:
        """The words that are to come next, as far as this caller cares."""
        self._reply, self._reached, self._fresh = reply, 0, True
        self._forget()

    def audio(self, now: float, mulaw: bytes) -> None:
        """Sound came over the socket."""
        arrives = now + self._away()
        if arrives > self.dry_at and not self._fresh:
            self.gaps += 1
        self._fresh = False
        self._received += len(mulaw)
        self._sent += [(word.text, word.end) for word in self._reader.feed(mulaw)]
        self.dry_at = max(arrives, self.dry_at) + len(mulaw) / 8000

    def mark(self, now: float, name: str) -> None:
        self._marks.append((max(now + self._away(), self.dry_at) + self._away(), name))

    def due(self, now: float) -> list[str]:
        """The marks that come back now."""
        names = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names

    def clear(self, now: float) -> int:
        """Everything that has not sounded is gone; returns how many words of the reply have."""
        away = now + self._away()
        played = self._received - int(max(0.0, self.dry_at - away) * 8000)
        self._reached = _along(self._reply, self._reached, [text for text, end in self._sent if end <= played])
        self._marks = deque((away + self._away(), name) for _, name in self._marks)
        self._forget()
        self._fresh = True
        return self._reached

    def _forget(self) -> None:
        self._sent, self._received, self.dry_at = [], 0, 0.0
        self._reader = Reader(self.agent)

    def _away(self) -> float:
        return self.draws.uniform(*_AWAY_SECONDS)


def _along(reply: Sequence[str], reached: int, heard: Sequence[str]) -> int:
    """How far into a reply these words lead, of which some may be said again after a pause."""
    for word in heard:
        back = range(min(reached, len(reply) - 1), max(-1, reached - _BACK_WORDS), -1)
        reached = next((at + 1 for at in back if reply[at] == word), reached)
    return reached
