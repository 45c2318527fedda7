"""Lets a key ask as much as its quota allows, and so much at once; says in every answer how it stands."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from api.limits import Limits, LimitsAway, Policy, ProcessLimits, Standing
from api.problems import TOO_MANY, TOO_MANY_AT_ONCE, Problem

MOST_AT_ONCE = 64
# A process that cannot ask the others lets a key have this part of its quota for changes; reads are let through.
_ALONE = 4
_AWAY_SECONDS = 1.0


class Limiter:
    """Admits requests. Where the others cannot be asked, reads pass, and changes have a part of their quota in this process alone."""

    def __init__(self, limits: Limits, reads: Policy, writes: Policy, now: Callable[[], float], *, at_once: int = MOST_AT_ONCE) -> None:
        self._limits = limits
        self._reads, self._writes = reads, writes
        self._now = now
        self._most_at_once = at_once
        self._at_once: Counter[str] = Counter()
        self._alone = ProcessLimits(now)
        self._ask_again_at = 0.0

    async def admit(self, who: str, *, reading: bool) -> Mapping[str, str]:
        """The headers that say how the key stands; call `leave` when the request has ended. Raises Problem."""
        if self._at_once[who] >= self._most_at_once:
            detail = f"{self._most_at_once} requests of this key are being answered already."
            raise Problem(TOO_MANY_AT_ONCE, detail, headers={"Retry-After": "1"})
        policy = self._reads if reading else self._writes
        standing = await self._standing(policy, who, reading=reading)
        if standing is None:
            self._at_once[who] += 1
            return {}
        said = _headers(policy, standing)
        if standing.wait_seconds > 0:
            wait = max(1, math.ceil(standing.wait_seconds))
            detail = f"The key has used its {policy.quota} {policy.name} in {policy.window_seconds} s."
            raise Problem(TOO_MANY, detail, headers={**said, "Retry-After": str(wait)})
        self._at_once[who] += 1
        return said

    def leave(self, who: str) -> None:
        """A request that was admitted has ended."""
        self._at_once[who] -= 1
        if not self._at_once[who]:
            del self._at_once[who]

    async def _standing(self, policy: Policy, who: str, *, reading: bool) -> Standing | None:
        if self._now() >= self._ask_again_at:
            try:
                return await self._limits.take(policy, who)
            except LimitsAway:
                self._ask_again_at = self._now() + _AWAY_SECONDS
        if reading:
            return None
        return self._alone.count(replace(policy, quota=max(1, policy.quota // _ALONE)), who)


def _headers(policy: Policy, standing: Standing) -> dict[str, str]:
    """draft-ietf-httpapi-ratelimit-headers, and the older names for the same quota."""
    reset = math.ceil(standing.whole_in_seconds)
    return {
        "RateLimit-Policy": f'"{policy.name}";q={policy.quota};w={policy.window_seconds}',
        "RateLimit": f'"{policy.name}";r={standing.remaining};t={reset}',
        "X-RateLimit-Limit": str(policy.quota),
        "X-RateLimit-Remaining": str(standing.remaining),
        "X-RateLimit-Reset": str(reset),
    }
