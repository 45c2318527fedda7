"""Who may come in: refused before anybody's talk suffers, by what this process measures and by what the providers' accounts allow."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from realtime.engines.ports import Admission

_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """From `most_lag_ms` or `most_busy` on nobody else comes in, until both are below `again` of it. `weight` is the newest look's."""

    most_lag_ms: float = 150.0
    most_busy: float = 0.9
    again: float = 0.7
    weight: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How late the event loop is, and how much of its core it uses; both smoothed, so that one long step turns nobody away."""

    lag_ms: float = 0.0
    busy: float = 0.0
    full: bool = False


def looked(load: Load, lag_ms: float, busy: float, limits: LoadLimits) -> Load:
    """The load after another look."""
    now = replace(
        load, lag_ms=load.lag_ms + limits.weight * (lag_ms - load.lag_ms), busy=load.busy + limits.weight * (busy - load.busy)
    )  # fmt: skip
    share = limits.again if load.full else 1.0
    return replace(now, full=now.lag_ms >= limits.most_lag_ms * share or now.busy >= limits.most_busy * share)


class Door:
    """`busy_seconds`: how long the event loop's thread has been at work. `slots`: places by the providers' accounts."""

    def __init__(
        self, slots: Admission | None = None, busy_seconds: Callable[[], float] = lambda: 0.0, *, limits: LoadLimits | None = None
    ) -> None:  # fmt: skip
        self.load = Load()
        self._slots, self._busy_seconds, self._limits = slots, busy_seconds, limits or LoadLimits()

    async def run(self) -> None:
        """Look after the load until cancelled."""
        loop = asyncio.get_running_loop()
        at, busy = loop.time(), self._busy_seconds()
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            now, used = loop.time(), self._busy_seconds()
            self.load = looked(self.load, (now - at - _EVERY_SECONDS) * 1000, (used - busy) / (now - at), self._limits)
            at, busy = now, used

    def admits(self, call_sid: str, counters: Counter[str]) -> bool:
        """Whether one more call may come in; it has its place then. Idempotent."""
        if self.load.full:
            counters["rings-over-load"] += 1
            return False
        if self._slots is not None and not self._slots.reserve(call_sid):
            counters["rings-without-slot"] += 1
            return False
        return True

    def left(self, call_sid: str) -> None:
        """The call is over, or never came. Idempotent."""
        if self._slots is not None:
            self._slots.release(call_sid)
