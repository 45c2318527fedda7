"""Avro's plain values as bytes and back: whole numbers in as few bytes as they need, times, amounts."""

import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from events.schema import amount_of, unscaled_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DOUBLE = struct.Struct("<d")


class _Longs(dict[int, bytes]):
    """Avro's encoding of whole numbers; those that are common are kept."""

    def __missing__(self, number: int) -> bytes:
        if not -(2**63) <= number < 2**63:
            raise OverflowError(f"{number} has more than 64 bits")
        left, out = (number << 1) ^ (number >> 63), bytearray()
        while left > 0x7F:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        out.append(left)
        return bytes(out)


LONGS = _Longs()
LONGS.update((number, LONGS[number]) for number in range(-64, 1024))


def long_at(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >= 2**64:
                raise ValueError("a number has more than 64 bits")
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 10 bytes")


def length_at(data: bytes, at: int) -> tuple[int, int]:
    length, at = long_at(data, at)
    if length < 0:
        raise ValueError("a length is negative")
    return length, at


def block_at(data: bytes, at: int) -> tuple[int, int]:
    """How many entries follow; a negative number is followed by their size in bytes."""
    many, at = long_at(data, at)
    if many < 0:
        many = -many
        _, at = length_at(data, at)
    if many > len(data):
        raise EOFError("more entries than bytes")
    return many, at


def micros_of(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment_of(micros: int) -> datetime:
    return _EPOCH + timedelta(0, 0, micros)


def amount_bytes(amount: Decimal) -> bytes:
    unscaled = unscaled_of(amount)
    # One bit more than the absolute value needs, whatever the sign: as fastavro writes it.
    return unscaled.to_bytes((abs(unscaled).bit_length() + 8) // 8, "big", signed=True)


def amount_in(box: bytes) -> Decimal:
    return amount_of(int.from_bytes(box, "big", signed=True))
