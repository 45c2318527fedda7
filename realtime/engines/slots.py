"""How many calls the providers' accounts leave room for: counted when a call is taken, given back when it is over."""

from collections.abc import Sequence


class Slots:
    """`realtime.engines.ports.Admission` of one process. `limits`: streams that each kind of engine allows at once, over all its rungs."""

    def __init__(self, limits: Sequence[int | None]) -> None:
        known = [limit for limit in limits if limit is not None]
        self.limit: int | None = min(known) if known else None
        self._held: set[str] = set()

    @property
    def held(self) -> int:
        return len(self._held)

    def room(self) -> bool:
        return self.limit is None or len(self._held) < self.limit

    def reserve(self, call_id: str) -> bool:
        if call_id in self._held:
            return True
        if not self.room():
            return False
        self._held.add(call_id)
        return True

    def release(self, call_id: str) -> None:
        self._held.discard(call_id)
