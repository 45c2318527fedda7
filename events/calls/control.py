"""What people outside a call order it to do."""

from dataclasses import dataclass

from events.registry import event


@event("hang-up-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class HangUpOrdered:
    """Someone outside the call wants it ended."""

    reason: str
