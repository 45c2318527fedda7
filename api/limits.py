"""How much a key may ask: a quota per window for reading and for changing, and how it is counted."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`quota` requests in `window_seconds`, given back evenly: a burst may take the whole of it."""

    name: str
    quota: int
    window_seconds: int


READS = Policy(name="reads", quota=12_000, window_seconds=60)
WRITES = Policy(name="writes", quota=3_000, window_seconds=60)
SIGN_INS = (
    Policy(name="sign-ins", quota=10, window_seconds=300),
    Policy(name="sign-ins-hour", quota=20, window_seconds=3600),
    Policy(name="sign-ins-day", quota=40, window_seconds=86_400),
)
"""To one address, known or not, from one place or one known device. Who goes on waits longer: half a minute, three, then thirty-six."""
SIGN_INS_TO_ONE = Policy(name="sign-ins-to-one", quota=200, window_seconds=3600)
"""To one address from all places together, known devices left out: these a stranger's guesses cannot lock out."""
SIGN_INS_FROM_ONE = Policy(name="sign-ins-from-one", quota=100, window_seconds=300)
"""From one place of the network."""


class Standing(NamedTuple):
    """How a key stands after a request: what remains of the quota, and in how many seconds it is whole again.

    `wait_seconds`: 0 where the request may pass, else how long until one may.
    """

    remaining: int
    whole_in_seconds: float
    wait_seconds: float


class LimitsAway(Exception):
    """Nobody can say how much a key has asked."""


class Limits(Protocol):
    """What keys have asked, counted over all processes."""

    async def take(self, policy: Policy, who: str) -> Standing:
        """Count one request, unless it must wait. Raises LimitsAway, in a fraction of a second."""


class ProcessLimits:
    """`Limits` of one process. `now` counts seconds from any moment; the keys that asked last are remembered."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._whole_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def take(self, policy: Policy, who: str) -> Standing:
        return self.count(policy, who)

    def count(self, policy: Policy, who: str) -> Standing:
        """As `take`, at once."""
        now, key = self._now(), (policy.name, who)
        standing, whole_at = taken(policy, now, max(self._whole_at.pop(key, now), now))
        self._whole_at[key] = whole_at
        if len(self._whole_at) > _REMEMBERED:
            self._whole_at.popitem(last=False)
        return standing


def taken(policy: Policy, now: float, whole_at: float) -> tuple[Standing, float]:
    """One request by the generic cell rate algorithm. `whole_at`: when the quota would be whole again without it, not before `now`."""
    each = policy.window_seconds / policy.quota
    after = whole_at + each
    if after - now > policy.window_seconds + 1e-9:
        return Standing(0, whole_at - now, after - now - policy.window_seconds), whole_at
    return Standing(math.floor((policy.window_seconds - (after - now)) / each + 1e-6), after - now, 0.0), after
