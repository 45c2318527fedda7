"""The caller's audio that no recogniser has given its last word on: kept, bounded, and given to the next one."""

from realtime.audio import BYTES_PER_MS

# Recognisers settle every few seconds; what is older than this is lost with a stream that never did.
_LONGEST_BYTES = 15_000 * BYTES_PER_MS
# Where nobody speaks there is nothing to lose but the beginning of a word that the detector has not noticed yet.
_QUIET_BYTES = 1_000 * BYTES_PER_MS


class Unsettled:
    """Positions count in ms of what was given to it."""

    def __init__(self) -> None:
        self._audio = bytearray()
        self._from = 0
        self.lost_ms = 0

    @property
    def from_ms(self) -> int:
        """Where the kept audio begins."""
        return self._from // BYTES_PER_MS

    @property
    def end_ms(self) -> int:
        """How much was given in all."""
        return (self._from + len(self._audio)) // BYTES_PER_MS

    def add(self, mulaw: bytes) -> None:
        self._audio += mulaw
        # A little at a time would move all of it with each frame.
        if len(self._audio) > _LONGEST_BYTES + _QUIET_BYTES:
            self.lost_ms += _QUIET_BYTES // BYTES_PER_MS
            self._drop(_QUIET_BYTES)

    def settle(self, until_ms: int) -> None:
        """All before `until_ms` has been heard for good."""
        self._drop(min(until_ms * BYTES_PER_MS - self._from, len(self._audio)))

    def quiet(self) -> None:
        """Nobody speaks: only the last moment is kept."""
        if len(self._audio) > 2 * _QUIET_BYTES:
            self._drop(len(self._audio) - _QUIET_BYTES)

    def audio(self) -> bytes:
        return bytes(self._audio)

    def _drop(self, count: int) -> None:
        if count > 0:
            del self._audio[:count]
            self._from += count
