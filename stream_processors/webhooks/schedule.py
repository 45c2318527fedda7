"""When an address that does not take an event is asked again, and when it is left alone."""

import hashlib
from collections.abc import Sequence

WAITS_SECONDS: Sequence[float] = (2, 10, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Twelve attempts within about three days; then the address is disabled."""
_LONGEST_ASKED_SECONDS = 3_600.0
_SPREAD = 0.2


def wait_seconds(failures: int, event: str, waits: Sequence[float], *, asked: float = 0.0) -> float | None:
    """How long to wait after the so many-th failure in a row; None: no more. `asked`: what the address itself asked for.

    The spread is drawn from the event's name, so that many addresses that failed together do not come back together, and a
    process that takes over waits as the one before would have.
    """
    if failures > len(waits):
        return None
    draw = int.from_bytes(hashlib.sha256(f"{event}/{failures}".encode()).digest()[:4], "big") / 2**32
    return max(waits[failures - 1] * (1 + _SPREAD * (2 * draw - 1)), min(asked, _LONGEST_ASKED_SECONDS))
