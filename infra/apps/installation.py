"""What an installation keeps beside its log: the secrets that are drawn once, and the key ring."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from events.sealing import KeyRing
from infra.adapters.keyfile import open_key_ring, secret_file
from infra.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Secrets of this installation. Each is drawn on first use and lies in a file that only its owner can read."""

    key_ring: KeyRing = field(repr=False)
    operator_key: str = field(repr=False)
    """With it organisations are created; shown by `aybiza key` alone, kept in `keys/operator.key`."""
    token_secret: bytes = field(repr=False)
    """Signs the media tokens."""
    twilio_auth_token: str = field(repr=False)
    """The carrier's, from the environment; else one of our own that the emulated carrier signs with."""
    twilio_account_sid: str


@contextmanager
def open_installation(settings: Settings) -> Iterator[Installation]:
    """Open the key store and read the secrets. Raises BrokenKeyFile."""
    key_ring, store = open_key_ring(settings.wrapping_key_file)
    folder = settings.wrapping_key_file.parent
    try:
        own_token = secret_file(folder / "carrier.token", 16).hex()
        yield Installation(
            key_ring=key_ring,
            operator_key=operator_key(folder),
            token_secret=secret_file(folder / "media.secret"),
            twilio_auth_token=settings.twilio_auth_token.get_secret_value() if settings.twilio_auth_token else own_token,
            twilio_account_sid=settings.twilio_account_sid or f"AC{own_token}",
        )
    finally:
        store.close()


def operator_key(folder: Path) -> str:
    """The platform operator's API key."""
    return "aybiza_operator_" + base64.urlsafe_b64encode(secret_file(folder / "operator.key")).decode().rstrip("=")
