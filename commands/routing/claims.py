"""The last known claim of each partition: where its commands are sent. A hint, never a proof; the log decides."""

from collections.abc import Callable
from typing import Protocol

from commands.ports import Claim, Place


class Claims(Protocol):
    """What is known of claims, here and in other processes."""

    def of(self, place: Place) -> Claim | None:
        """The newest claim that was heard of."""

    def learn(self, place: Place, claim: Claim) -> bool:
        """Take what was heard from anywhere. True: it is newer than what was known."""

    def correct(self, place: Place, wrong: Claim, right: Claim) -> None:
        """The holder of `wrong` itself named another, under its own term or a later one. Ignored when `wrong` is not what is known."""

    def announce(self, place: Place, claim: Claim) -> None:
        """Tell everybody of a claim of ours that was read back as valid. Returns at once; a failure is harmless and tried again."""


class KnownClaims:
    """`Claims` in memory: one entry per partition that was ever heard of. `told` is called with each one that is announced here."""

    def __init__(self, told: Callable[[Place, Claim], None] | None = None) -> None:
        self._known: dict[Place, Claim] = {}
        self._told = told

    def of(self, place: Place) -> Claim | None:
        return self._known.get(place)

    def learn(self, place: Place, claim: Claim) -> bool:
        known = self._known.get(place)
        # Of equal terms the first one on the log counts.
        if known is not None and (claim.term, -claim.offset) <= (known.term, -known.offset):
            return False
        self._known[place] = claim
        return True

    def correct(self, place: Place, wrong: Claim, right: Claim) -> None:
        if self._known.get(place) == wrong and right.term >= wrong.term:
            self._known[place] = right

    def announce(self, place: Place, claim: Claim) -> None:
        self.learn(place, claim)
        if self._told is not None:
            self._told(place, claim)
