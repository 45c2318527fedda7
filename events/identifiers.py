"""Ids that people read aloud and programs sort: AYB and USR ids with a check character, and UUIDv7 for streams."""

import hashlib
import re
from uuid import UUID

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {character: value for value, character in enumerate(ALPHABET)}
# Crockford's rule: what people mistake for each other is read as one.
_FORGIVEN = str.maketrans("OIL", "011")


class InvalidIdentifier(ValueError):
    """Not an id of ours: wrong length, a foreign character, or a check character that does not fit (a typing error)."""


def check_character(body: str) -> str:
    """Luhn mod 32 over Crockford's alphabet: finds every single wrong character and nearly every swap of neighbours."""
    total, factor = 0, 2
    for character in reversed(body):
        addend = _VALUE[character] * factor
        total += addend // 32 + addend % 32
        factor = 3 - factor
    return ALPHABET[-total % 32]


def _characters(draw: int, length: int) -> str:
    return "".join(ALPHABET[draw >> (5 * at) & 31] for at in range(length))


def organisation_id(draw: int) -> str:
    """`AYB-XXXX-XXXX-XXXX` from 55 random bits."""
    body = _characters(draw, 11)
    whole = body + check_character(body)
    return f"AYB-{whole[:4]}-{whole[4:8]}-{whole[8:]}"


def user_id(draw: int) -> str:
    """`USR-XXXXXXXXXX` from 45 random bits."""
    body = _characters(draw, 9)
    return f"USR-{body}{check_character(body)}"


def read_identifier(text: str) -> str:
    """The proper spelling of an AYB or USR id typed by a person (any case, spaces, O for 0). Raises InvalidIdentifier."""
    compact = re.sub(r"[\s-]", "", text).upper()
    prefix, body = compact[:3], compact[3:].translate(_FORGIVEN)
    length = {"AYB": 12, "USR": 10}.get(prefix)
    if length is None or len(body) != length or not set(body) <= _VALUE.keys() or check_character(body[:-1]) != body[-1]:
        raise InvalidIdentifier(f"{text!r} is no AYB-XXXX-XXXX-XXXX or USR-XXXXXXXXXX id; check its spelling")
    return f"AYB-{body[:4]}-{body[4:8]}-{body[8:]}" if prefix == "AYB" else f"USR-{body}"


def uuid7(at_ms: int, draw: int) -> UUID:
    """RFC 9562 version 7 from milliseconds since 1970 and 74 random bits."""
    return UUID(int=(at_ms & (1 << 48) - 1) << 80 | 7 << 76 | (draw >> 62 & 0xFFF) << 64 | 2 << 62 | draw & (1 << 62) - 1)


def derived_id(*parts: str | bytes) -> bytes:
    """16 bytes that any program derives alike from the same parts: command ids, so that a repeat meets itself."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return digest.digest()[:16]
