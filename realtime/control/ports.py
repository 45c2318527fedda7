"""What the control of a call needs from the world: a place from which one tool can fetch what a caller keyed in."""

from typing import Protocol


class DigitsGone(Exception):
    """The reference opens nothing: it was never given, was redeemed already, or is too old."""


class CapturedDigits(Protocol):
    """Keeps what a caller keyed in, sealed, for a short time and one reader."""

    async def keep(self, call_id: str, digits: bytearray) -> str:
        """Returns a reference that tells nothing of the digits. The digits are copied. Raises OSError where they cannot be kept."""

    async def redeem(self, reference: str) -> str:
        """The digits, once. Raises DigitsGone."""
