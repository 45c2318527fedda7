"""How many calls the providers' accounts leave room for: counted when a call is taken, given back when it is over."""

import asyncio
from collections.abc import Sequence

import structlog

from realtime.engines.ports import PlacesElsewhere, PlacesUnknown

log = structlog.get_logger()

_EVERY_SECONDS = 1.0


class Slots:
    """`realtime.engines.ports.Admission` of one process. `limits`: streams that each kind of engine allows at once, over all its rungs.

    `elsewhere`: what other processes held when they were heard of last. Rings of one moment in two processes may both find the last place:
    the account's own refusal is then met by the rungs.
    """

    def __init__(self, limits: Sequence[int | None]) -> None:
        known = [limit for limit in limits if limit is not None]
        self.limit: int | None = min(known) if known else None
        self._held: set[str] = set()
        self.elsewhere = 0

    @property
    def held(self) -> int:
        return len(self._held)

    def room(self) -> bool:
        return self.limit is None or len(self._held) + self.elsewhere < self.limit

    def reserve(self, call_id: str) -> bool:
        if call_id in self._held:
            return True
        if not self.room():
            return False
        self._held.add(call_id)
        return True

    def release(self, call_id: str) -> None:
        self._held.discard(call_id)

    async def count_with(self, others: PlacesElsewhere, *, every_seconds: float = _EVERY_SECONDS) -> None:
        """Keep `elsewhere` until cancelled. While nobody can say, this process counts alone: a call is not refused for want of a count."""
        known = True
        while True:
            try:
                self.elsewhere, known = await others(len(self._held)), True
            except PlacesUnknown as cause:
                if known:
                    log.warning("places of other processes are not known; this one counts alone", cause=str(cause))
                self.elsewhere, known = 0, False
            await asyncio.sleep(every_seconds)
