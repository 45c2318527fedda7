"""How often, and how fast after each other, a call tries to reach an engine that fails."""

from collections import Counter

# Times of one engine in a row, once more than its breaker allows after a stream that broke; then there is no other.
_MOST_TIMES = 5
_PAUSES_SECONDS = (0.0, 0.05, 0.15, 0.3)


class Tries:
    """Failures in a row, by engine; one that did something is forgiven. So the time after which a call gives up is bounded."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()

    def failed(self, engine: str) -> bool:
        """One more; returns whether to try again."""
        self._failures[engine] += 1
        self._pause_seconds = _PAUSES_SECONDS[min(self._failures[engine], len(_PAUSES_SECONDS)) - 1]
        return self._failures[engine] < _MOST_TIMES

    def worked(self) -> None:
        self._failures.clear()

    @property
    def pause_seconds(self) -> float:
        """Before the next one: nothing the first time, for a stream that broke is mostly there again at once."""
        return self._pause_seconds if self._failures else 0.0

    _pause_seconds: float = 0.0
