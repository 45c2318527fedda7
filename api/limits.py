"""How much a key may ask: a quota per window for each class of routes, so much at once, and how it is counted."""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from api.scopes import is_reading

_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`quota` requests in `window_seconds`, given back evenly: a burst may take the whole of it."""

    name: str
    quota: int
    window_seconds: int


READS = Policy(name="reads", quota=12_000, window_seconds=60)
WRITES = Policy(name="writes", quota=3_000, window_seconds=60)
DEAR = Policy(name="dear", quota=1_200, window_seconds=60)
"""For what costs many times what others do: what is made, searched, explained or counted anew, and the past, folded from the journal."""
DEAR_ROUTES = ("/graphql", "/v1/access", "/v1/analytics", "/v1/exports", "/v1/lookup")
_THE_PAST = b"as-of="
MOST_AT_ONCE = 64
"""Requests of one key that are answered at once, in all processes together."""
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

    `wait_seconds`: 0 where the request may pass, else how long until one may. `free`: how many more may be answered at once; below 0
    where this one may not.
    """

    remaining: int
    whole_in_seconds: float
    wait_seconds: float
    free: int = 0


class LimitsAway(Exception):
    """Nobody can say how much a key has asked."""


class AtOnce:
    """How many requests of each key this process is answering."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self.left: set[str] = set()
        """Of whom requests have ended since this was last emptied."""

    def __getitem__(self, who: str) -> int:
        return self._count.get(who, 0)

    def keys(self) -> Collection[str]:
        return self._count.keys()

    def enter(self, who: str) -> int:
        """How many there are with this one."""
        count = self._count[who] = self._count.get(who, 0) + 1
        return count

    def leave(self, who: str) -> None:
        left = self._count.pop(who) - 1
        if left:
            self._count[who] = left
        self.left.add(who)


class Limits(Protocol):
    """What keys have asked, counted over all processes."""

    @property
    def at_once(self) -> AtOnce:
        """What this process is answering; whoever is counted with `most_at_once` has entered there."""

    async def take(self, policy: Policy, who: str, most_at_once: int = 0) -> Standing:
        """Count one request, unless it must wait. Raises LimitsAway, in a fraction of a second.

        `most_at_once`: of those that all processes are answering for `who`, this one among them; 0 asks nothing of that.
        """


class ProcessLimits:
    """`Limits` of one process. `now` counts seconds from any moment; the keys that asked last are remembered."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.at_once = AtOnce()
        self._whole_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def take(self, policy: Policy, who: str, most_at_once: int = 0) -> Standing:
        free = most_at_once - self.at_once[who]
        self.at_once.left.clear()
        return Standing(0, 0.0, 0.0, free) if most_at_once and free < 0 else self.count(policy, who)._replace(free=free)

    def count(self, policy: Policy, who: str) -> Standing:
        """As `take`, at once."""
        now, key = self._now(), (policy.name, who)
        standing, whole_at = taken(policy, now, max(self._whole_at.pop(key, now), now))
        self._whole_at[key] = whole_at
        if len(self._whole_at) > _REMEMBERED:
            self._whole_at.popitem(last=False)
        return standing


def is_dear(path: str, query: bytes) -> bool:
    """Whether a request is of the class that has a quota of its own."""
    plain = unquote_to_bytes(query) if b"%" in query else query
    return path.startswith(DEAR_ROUTES) or _THE_PAST in plain


def changes(method: str, path: str) -> bool:
    """Whether a request may change something; a question that GraphQL is sent does not."""
    return path != "/graphql" and not is_reading(method)


def taken(policy: Policy, now: float, whole_at: float) -> tuple[Standing, float]:
    """One request by the generic cell rate algorithm. `whole_at`: when the quota would be whole again without it, not before `now`."""
    each = policy.window_seconds / policy.quota
    after = whole_at + each
    if after - now > policy.window_seconds + 1e-9:
        return Standing(0, whole_at - now, after - now - policy.window_seconds), whole_at
    return Standing(math.floor((policy.window_seconds - (after - now)) / each + 1e-6), after - now, 0.0), after
