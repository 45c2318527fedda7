"""What the control of a call needs from the world: a place for what a caller keyed in, and a check of what a model asks of the call."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from realtime.ports import ToolSpec, ToolUse

Faults: TypeAlias = Callable[[ToolUse], str]
"""What is wrong with a tool's arguments by its schema, in words for the model; empty when nothing is. Pure and quick."""

Checks: TypeAlias = Callable[[Sequence[ToolSpec]], Faults]


def no_checks(_specs: Sequence[ToolSpec]) -> Faults:
    """For who trusts the model: the machine itself takes no argument that makes no sense."""
    return lambda _use: ""


class DigitsGone(Exception):
    """The reference opens nothing: it was never given, was redeemed already, or is too old."""


class CapturedDigits(Protocol):
    """Keeps what a caller keyed in, sealed, for a short time and one reader."""

    async def keep(self, call_id: str, digits: bytearray) -> str:
        """Returns a reference that tells nothing of the digits. The digits are copied. Raises OSError where they cannot be kept."""

    async def redeem(self, reference: str) -> str:
        """The digits, once. Raises DigitsGone."""
