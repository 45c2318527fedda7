"""Codes for once: those of a generator (RFC 6238, as every app has it: SHA-1, six digits, thirty seconds), and those for its loss."""

import base64
import hmac
import re
import struct
from collections.abc import Collection, Sequence
from datetime import datetime
from urllib.parse import quote

from events.identifiers import ALPHABET
from events.sealing import KeyRing

_STEP_SECONDS = 30
_DIGITS = 6
# Clocks differ, and people type slowly.
_STEPS_AROUND = (0, -1, 1)
_RECOVERY_CODES = 10
_RECOVERY_CHARACTERS = 10
_CODE = re.compile(r"[0-9]{6}\Z")


def secret_of(draw: bytes) -> str:
    """A generator's secret from 20 random bytes, as apps take it."""
    return base64.b32encode(draw).decode()


def address_of(secret: str, account: str) -> str:
    """The `otpauth:` address that apps read from a picture."""
    return f"otpauth://totp/AYBIZA:{quote(account)}?secret={secret}&issuer=AYBIZA"


def code_at(secret: str, step: int) -> str:
    """The code of a time step (RFC 4226, section 5.3)."""
    digest = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 0xF
    value = struct.unpack_from(">I", digest, offset)[0] & 0x7FFFFFFF
    return f"{value % 10**_DIGITS:0{_DIGITS}d}"


def step_of(secret: str, code: str, now: datetime) -> int:
    """The time step that a code is of, now or a moment ago; 0 for a wrong one. It takes as long, whichever it is."""
    at, found = int(now.timestamp()) // _STEP_SECONDS, 0
    for around in _STEPS_AROUND:
        if hmac.compare_digest(code_at(secret, at + around).encode(), code.encode()):
            found = at + around
    return found


def is_generated(code: str) -> bool:
    """Whether it could be a generator's code, and not one for its loss."""
    return _CODE.match(code) is not None


def recovery_codes(keyring: KeyRing, person_id: str, seed: bytes) -> Sequence[str]:
    """Codes for once, fifty bits each; they follow from the seed, so that a repeated request has the same answer."""
    draws = (int(keyring.reference(person_id, f"recovery {n} {seed.hex()}"), 16) for n in range(_RECOVERY_CODES))
    codes = ("".join(ALPHABET[draw >> (5 * at) & 31] for at in range(_RECOVERY_CHARACTERS)) for draw in draws)
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def recovery_ref(keyring: KeyRing, person_id: str, code: str) -> str:
    """What is kept of one: its keyed hash."""
    return keyring.reference(person_id, f"recovery code {re.sub(r'[^0-9A-Z]', '', code.upper())}")


def left_of(keyring: KeyRing, person_id: str, code: str, left: Collection[str]) -> str:
    """The reference of a recovery code that is left; empty for any other. It takes as long, whichever it is."""
    reference = recovery_ref(keyring, person_id, code)
    return reference if sum(hmac.compare_digest(each, reference) for each in left) else ""
