"""Those who look on while a call runs: they see everything that enters its machine and all that comes of it, and change nothing."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from commands.calls.orders import Witnessed
from events.streams import StreamId
from realtime.hearing import vad
from realtime.machine.effects import Effect
from realtime.machine.signals import Signal
from realtime.machine.state import CallState


class Observer(Protocol):
    """Looks on at one call. Nothing blocks, and nothing is raised."""

    def given(self, signal: Signal) -> None:
        """The machine is about to take this signal."""

    def did(self, effects: Sequence[Effect]) -> None:
        """What the signal given last has led to. It is not called where the step failed."""

    def windows(self, origin_ms: int, windows: Sequence[tuple[int, float]], changes: Sequence[vad.SpeechChange]) -> None:
        """What the detector said of the caller's audio, and when speech started and stopped by it. `origin_ms`: their 0 in call time."""

    def heard(self, end_ms: int, mulaw: bytes) -> None:
        """The caller's audio that ends at `end_ms` of call time."""

    async def run(self) -> None:
        """Runs beside the call until it is cancelled."""

    async def close(self) -> None:
        """The call takes no signal any more. Called once, and its end is put on the log only afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A call that is about to run over a media stream, `run`. `rang_at`: None where it rang
    elsewhere. `witness` puts a fact on its stream without waiting.
    """

    stream: StreamId
    run: str
    state: CallState
    hearing: vad.Thresholds
    agent_version_hash: str
    flags: Mapping[str, str]
    rang_at: datetime | None
    witness: Callable[[Witnessed], None]
    counters: Counter[str]


Observing = Callable[[Watched], Observer]
"""Makes the observer of a call."""
