"""A stretch of a call's signals as one object: packed, compressed, sealed under the caller's key, chained to the stretch before it.

An object is a line of JSON (layout, whose key) and a sealed box; in the box lies MessagePack, deflated.
"""

import hashlib
import json
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from events.sealing import KeyRing
from realtime.machine.effects import Effect, Play
from realtime.machine.signals import Signal
from realtime.rerun import hearing, words

_LAYOUT: Final = 1
_LONGEST_SHOWN_BYTES: Final = 160
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class BrokenStretch(ValueError):
    """An object that is not as it was kept, or not of a layout of ours."""


@dataclass(slots=True, kw_only=True)
class Notes:
    """What was seen, in its order, not yet packed. `effects` is one shorter than `signals` where the last step failed."""

    signals: list[Signal] = field(default_factory=list)
    effects: list[Sequence[Effect]] = field(default_factory=list)
    heard: hearing.Heard = field(default_factory=hearing.Heard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stretch stands in its run: its number from 0, how many signals came before it, and the digest of the object before it."""

    number: int = 0
    signals: int = 0
    from_ms: int = 0
    before: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch as it was kept. `checks` has a number for each step, `shown` what is kept of its effects; `whole` is the digest of all
    effects. `opening`, what the run began with, is the first stretch's alone.
    """

    place: Place
    to_ms: int
    rows: list[list[Any]]
    checks: "array[int]"
    shown: list[Any]
    whole: bytes
    heard: Mapping[str, Any]
    opening: Mapping[str, Any] | None
    digest: bytes


class Prints:
    """The prints of steps, by which two runs are compared: one for each step, and one for all of them."""

    def __init__(self) -> None:
        self.checks = array("H")
        self._spelt: list[bytes] = []

    def add(self, effects: Sequence[Effect]) -> bytes:
        """One more step; returns how its effects are spelt."""
        spelt = words.effect_bytes(effects) if effects else b""
        self._spelt.append(spelt)
        self.checks.append(zlib.crc32(spelt) & 0xFFFF)
        return spelt

    @property
    def whole(self) -> bytes:
        return hashlib.blake2b(b"".join(self._spelt), digest_size=16).digest()


def pack(notes: Notes, place: Place, opening: Mapping[str, Any] | None) -> tuple[bytes, int]:
    """The stretch before it is sealed, and the time of its last signal."""
    rows, to_ms = words.signal_rows(notes.signals, place.from_ms)
    prints, shown = Prints(), []
    for effects in notes.effects:
        spelt = prints.add(effects)
        # Playing what has just arrived is most of what happens, and says nothing that its signal does not.
        brief = len(spelt) > _LONGEST_SHOWN_BYTES or not effects or (len(effects) == 1 and type(effects[0]) is Play)
        shown.append(words.told(effects) if brief else spelt)
    plain = {
        "number": place.number, "signals": place.signals, "from": place.from_ms, "to": to_ms, "before": place.before, "rows": rows,
        "checks": prints.checks.tobytes(), "shown": shown, "whole": prints.whole, "heard": hearing.pack(notes.heard), "opening": opening,
    }  # fmt: skip
    return zlib.compress(_encode(plain), 1), to_ms


def sealed(packed: bytes, subject: str, keyring: KeyRing) -> bytes:
    """The object."""
    return json.dumps({"layout": _LAYOUT, "subject": subject}).encode() + b"\n" + keyring.seal_bytes(subject, packed)


def digest_of(content: bytes) -> bytes:
    """By which the log and the next stretch know an object."""
    return hashlib.sha256(content).digest()


def subject_of(content: bytes) -> str:
    """Whose key opens an object. Raises BrokenStretch."""
    try:
        head = json.loads(content.partition(b"\n")[0])
        layout, subject = head["layout"], str(head["subject"])
    except (ValueError, KeyError, TypeError) as cause:
        raise BrokenStretch("its first line is no head of ours") from cause
    if layout != _LAYOUT:
        raise BrokenStretch(f"it has layout {layout}, and this program reads {_LAYOUT}")
    return subject


def unsealed(content: bytes, keyring: KeyRing) -> Stretch:
    """Raises BrokenStretch, BrokenSeal or KeyErased."""
    packed = keyring.open_bytes(subject_of(content), content.partition(b"\n")[2])
    try:
        plain = _decode(zlib.decompress(packed))
        place = Place(number=plain["number"], signals=plain["signals"], from_ms=plain["from"], before=plain["before"])
        return Stretch(
            place=place, to_ms=plain["to"], rows=plain["rows"], checks=array("H", plain["checks"]), shown=plain["shown"],
            whole=plain["whole"], heard=plain["heard"], opening=plain["opening"], digest=digest_of(content),
        )  # fmt: skip
    except (zlib.error, msgspec.DecodeError, KeyError, ValueError) as cause:
        raise BrokenStretch("it cannot be unpacked") from cause
