"""What callers keyed in, in this process's memory alone: encrypted, for a few minutes, for one reader."""

import os
import secrets
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from realtime.control.ports import DigitsGone

_NONCE_BYTES = 12
# A call seldom has more than one; beyond this something is wrong, and the oldest go.
_MOST = 10_000


class DigitVault:
    """`realtime.control.ports.CapturedDigits`. Each reference has a key of its own, which is nowhere but in the reference."""

    def __init__(self, *, lifetime_seconds: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime, self._clock = lifetime_seconds, clock
        self._boxes: dict[str, tuple[float, bytes]] = {}

    async def keep(self, call_id: str, digits: bytearray) -> str:
        """Nothing here opens a box without its reference."""
        now = self._clock()
        self._boxes = {name: kept for name, kept in list(self._boxes.items())[-_MOST:] if kept[0] > now}
        name, key, nonce = secrets.token_hex(8), os.urandom(32), os.urandom(_NONCE_BYTES)
        self._boxes[name] = now + self._lifetime, nonce + AESGCM(key).encrypt(nonce, bytes(digits), name.encode())
        return f"digits_{name}_{key.hex()}"

    async def redeem(self, reference: str) -> str:
        """The digits, once. Raises DigitsGone."""
        _, _, rest = reference.partition("digits_")
        name, _, key = rest.partition("_")
        until, box = self._boxes.pop(name, (0.0, b""))
        if until <= self._clock():
            raise DigitsGone("the reference opens nothing: it was redeemed, or is too old")
        try:
            return AESGCM(bytes.fromhex(key)).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], name.encode()).decode()
        except (InvalidTag, ValueError) as cause:
            raise DigitsGone("the reference opens nothing: it is not whole") from cause
