"""Lets nobody try many passwords: so many attempts at one address, so many from one place, counted over all processes."""

from collections.abc import Callable
from math import ceil

from fastapi import Request

from api.limits import Limits, LimitsAway, Policy, ProcessLimits
from api.problems import TOO_MANY, Problem
from events.sealing import KeyRing


class Throttle:
    """Where the others cannot be asked, this process counts alone: nobody is let through uncounted."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._alone = ProcessLimits(now)

    async def admit(self, policy: Policy, who: str) -> None:
        """Count one attempt of `who`. Raises Problem."""
        try:
            standing = await self._limits.take(policy, who)
        except LimitsAway:
            standing = self._alone.count(policy, who)
        if standing.wait_seconds > 0:
            wait = max(1, ceil(standing.wait_seconds))
            raise Problem(TOO_MANY, "Too many attempts; wait before the next one.", headers={"Retry-After": str(wait)})


def place_of(keyring: KeyRing, request: Request) -> str:
    """The asker's place in the network, by keyed hash: a network address is personal data too.

    Behind a balancer it is what the balancer says, if `FORWARDED_ALLOW_IPS` names the balancer; else everybody comes from one place.
    """
    return keyring.reference("place", request.client.host if request.client else "")
