"""Both sides of a call while they may be kept, aligned to call time: the caller by the carrier's stamps, the agent by when it sounds.

What is kept goes out piece by piece, so that no more than a piece of it is ever in memory here.
"""

from collections import deque
from collections.abc import Callable

from realtime.audio import BYTES_PER_MS, SILENCE
from realtime.ports import RecordedStretch

PIECE_MS = 5000


class Recorder:
    """Keeps nothing while it is off. Agent's audio that was sent ahead and has not sounded yet is only waiting to be played.

    `keep` is given pieces of at most about `piece_ms`, in order, each where the one before it ended, and none that is empty.
    """

    def __init__(self, keep: Callable[[RecordedStretch], None], *, piece_ms: int = PIECE_MS) -> None:
        self._keep, self._piece = keep, piece_ms * BYTES_PER_MS
        self._from: int | None = None
        self._caller, self._agent = bytearray(), bytearray()
        self._ahead: deque[tuple[int, bytes]] = deque()

    @property
    def on(self) -> bool:
        return self._from is not None

    def start(self, at_ms: int) -> None:
        if self._from is None:
            self._from = at_ms * BYTES_PER_MS

    def stop(self, at_ms: int) -> None:
        """Nothing that sounds from `at_ms` on is kept."""
        if self._from is None:
            return
        self._hand_out(max(self._from, at_ms * BYTES_PER_MS))
        self._from = None

    def caller(self, at_ms: int, mulaw: bytes) -> None:
        """The caller's frame that begins at `at_ms`; what of the agent's has sounded by then is no longer ahead."""
        at = at_ms * BYTES_PER_MS
        while self._ahead and self._ahead[0][0] + len(self._ahead[0][1]) <= at:
            from_sample, sounded = self._ahead.popleft()
            self._put(self._agent, from_sample, sounded)
        if self._from is not None and at >= self._from + self._piece:
            self._hand_out(at)
        self._put(self._caller, at, mulaw)

    def agent(self, from_sample: int, mulaw: bytes) -> None:
        """The agent's audio, sent now, that will sound from `from_sample` of call time on."""
        self._ahead.append((from_sample, mulaw))

    def cut(self, at_ms: int) -> None:
        """What has not sounded by `at_ms` never will."""
        at = at_ms * BYTES_PER_MS
        self._ahead = deque((start, mulaw[: at - start]) for start, mulaw in self._ahead if start < at)

    def _hand_out(self, until: int) -> None:
        """Everything up to here as a piece; the next one begins here."""
        if self._from is None:
            return
        rest: deque[tuple[int, bytes]] = deque()
        for from_sample, mulaw in self._ahead:
            sounded = max(0, until - from_sample)
            self._put(self._agent, from_sample, mulaw[:sounded])
            if mulaw[sounded:]:
                rest.append((from_sample + sounded, mulaw[sounded:]))
        self._ahead = rest
        length = until - self._from
        sides = []
        for side in (self._caller, self._agent):
            side.extend(bytes([SILENCE]) * (length - len(side)))
            sides.append(bytes(side[:length]))
            # A frame that lies across the border begins the next piece.
            del side[:length]
        if length:
            self._keep(RecordedStretch(from_ms=self._from // BYTES_PER_MS, caller=sides[0], agent=sides[1]))
        self._from = until

    def _put(self, side: bytearray, from_sample: int, mulaw: bytes) -> None:
        if self._from is None:
            return
        offset = from_sample - self._from
        if offset < 0:
            mulaw, offset = mulaw[-offset:], 0
        if not mulaw:
            return
        if offset > len(side):
            side.extend(bytes([SILENCE]) * (offset - len(side)))
        side[offset : offset + len(mulaw)] = mulaw
