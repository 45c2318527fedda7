"""Lets a key ask as much as its quota allows, and so much at once; says in every answer how it stands."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from api.limits import MOST_AT_ONCE, Limits, LimitsAway, Policy, ProcessLimits, Standing, changes, is_dear
from api.problems import TOO_MANY, TOO_MANY_AT_ONCE, Problem

# A process that cannot ask the others lets a key have this part of its quota for changes; reads are let through.
_ALONE = 4
_AWAY_SECONDS = 1.0
Quotas: TypeAlias = tuple[Policy, Policy, Policy]
"""For reads, for changes, and for what is dear."""


class Limiter:
    """Admits requests. Where the others cannot be asked, reads pass, and changes have a part of their quota in this process alone."""

    def __init__(self, limits: Limits, quotas: Quotas, now: Callable[[], float], *, at_once: int = MOST_AT_ONCE) -> None:
        self._limits = limits
        self._reads, self._writes, self._dear = quotas
        self._now = now
        self._most_at_once = at_once
        self._at_once = limits.at_once
        self._alone = ProcessLimits(now)
        self._ask_again_at = 0.0

    async def admit(self, who: str, method: str, path: str, query: bytes = b"") -> Mapping[str, str]:
        """The headers that say how the key stands; call `leave` when the request has ended. Raises Problem."""
        reading = not changes(method, path)
        policy = self._dear if is_dear(path, query) else self._reads if reading else self._writes
        here = self._at_once.enter(who)
        try:
            # Too many here are too many everywhere: the others are not asked.
            crowded = here > self._most_at_once
            standing = Standing(0, 0.0, 0.0, -1) if crowded else await self._standing(policy, who, reading=reading)
            return {} if standing is None else self._judged(policy, standing)
        except BaseException:
            self.leave(who)
            raise

    def leave(self, who: str) -> None:
        """A request that was admitted has ended."""
        self._at_once.leave(who)

    def _judged(self, policy: Policy, standing: Standing) -> dict[str, str]:
        if standing.free < 0:
            detail = f"{self._most_at_once} requests of this key are being answered already."
            raise Problem(TOO_MANY_AT_ONCE, detail, headers={**_crowd(self._most_at_once, 0), "Retry-After": "1"})
        said = _headers(policy, standing)
        if standing.wait_seconds > 0:
            wait = max(1, math.ceil(standing.wait_seconds))
            detail = f"The key has used its {policy.quota} {policy.name} in {policy.window_seconds} s."
            raise Problem(TOO_MANY, detail, headers={**said, "Retry-After": str(wait)})
        # Of two bounds the tighter one is told; one that is far away would only hide the quota.
        most, free = self._most_at_once, standing.free
        if free * 2 < most and free * policy.quota < standing.remaining * most:
            said |= _crowd(most, free)
        return said

    async def _standing(self, policy: Policy, who: str, *, reading: bool) -> Standing | None:
        if self._now() >= self._ask_again_at:
            try:
                return await self._limits.take(policy, who, self._most_at_once)
            except LimitsAway:
                self._ask_again_at = self._now() + _AWAY_SECONDS
        if reading:
            return None
        free = self._most_at_once - self._at_once[who]
        return self._alone.count(replace(policy, quota=max(1, policy.quota // _ALONE)), who)._replace(free=free)


def _crowd(most: int, free: int) -> dict[str, str]:
    return {"RateLimit-Policy": f'"at-once";q={most};qu="concurrent-requests"', "RateLimit": f'"at-once";r={free};t=1'}


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
