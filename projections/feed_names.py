"""A text for every place in a feed, by which it goes on exactly there: a vector over partitions, kept elsewhere when it is long."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from events.admission import UNCLAIMED
from events.positions import Cursor, InvalidPosition
from events.records import AdmittedBatch

Spot = tuple[str, int]
_INLINE_CHARACTERS = 360
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
# So many facts are told apart from one kept vector, in so many partitions, before the next one is kept: names stay short, vectors few.
_STEPS = 256
_PARTITIONS = 32


class VectorsAway(Exception):
    """Vectors can be neither kept nor found now."""


class Vectors(Protocol):
    """Where long vectors are kept for a day. What is kept under a name never changes."""

    async def keep(self, name: str, vector: str) -> None:
        """Raises VectorsAway."""

    async def find(self, name: str) -> str | None:
        """None for one that was never kept, or too long ago. Raises VectorsAway."""


class Resume(NamedTuple):
    """Where a listener goes on: read from `cursor`, and leave out what lies at or before an offset in `heard`."""

    cursor: Cursor
    heard: Mapping[Spot, int]

    def next_offset(self, place: Spot) -> int:
        return max(self.cursor.get(place, (0, UNCLAIMED))[0], self.heard.get(place, -1) + 1)


class Names:
    """Names the facts of one reading. `reached` stands after the last batch that was taken in; `heard` as in Resume."""

    def __init__(self, cursor: Cursor, vectors: Vectors, heard: Mapping[Spot, int] | None = None) -> None:
        self.reached = dict(cursor)
        self._vectors = vectors
        self._heard = heard or {}
        self._base = ""
        self._places: Mapping[Spot, int] = {}
        self._moved: dict[int, int] = {}
        self._steps = _STEPS

    async def begin(self, batch: AdmittedBatch) -> None:
        """Before facts of a batch are named. May keep a vector."""
        place = (batch.topic, batch.partition)
        if self._steps >= _STEPS or len(self._moved) > _PARTITIONS or place not in self._places:
            self.reached.setdefault(place, (0, UNCLAIMED))
            base = Cursor(self.reached)
            self._places = {each: number for number, each in enumerate(base)}
            self._base = await _written(base, self._vectors)
            ahead = {each: offset for each, offset in self._heard.items() if each in base and offset >= base[each][0]}
            self._moved, self._steps = {self._places[each]: offset for each, offset in ahead.items()}, 0

    def name(self, place: Spot, offset: int) -> str:
        """Of the fact at an offset of the batch that was begun."""
        number = self._places[place]
        self._moved[number] = max(offset, self._moved.get(number, -1))
        self._steps += 1
        return self._base + "".join(f".{_number(number)}-{_number(at)}" for number, at in self._moved.items())

    def end(self, batch: AdmittedBatch) -> None:
        """After its facts, also where none of them was named: somebody may have heard them otherwise."""
        place = (batch.topic, batch.partition)
        self.reached[place] = (batch.next_offset, batch.fence)
        number = self._places.get(place)
        if number is None:
            self._steps = _STEPS
        elif batch.next_offset > 0:
            self._moved[number] = max(batch.next_offset - 1, self._moved.get(number, -1))


async def resume_at(name: str, vectors: Vectors) -> Resume | None:
    """The place that a name means; None when its vector is kept no longer. Raises InvalidPosition, and VectorsAway."""
    base, *moved = name.split(".")
    try:
        if base.startswith("v"):
            text = zlib.decompress(base64.urlsafe_b64decode(base[1:] + "=" * (-len(base[1:]) % 4))).decode()
        elif base.startswith("k") and len(base) == 33:
            found = await vectors.find(base[1:])
            if found is None:
                return None
            text = found
        else:
            raise InvalidPosition("this is no event id of ours")
        cursor = Cursor.parse(text)
        places = list(cursor)
        heard = {}
        for each in moved:
            number, _, offset = each.partition("-")
            heard[places[int(number, 36)]] = int(offset, 36)
    except (ValueError, IndexError, binascii.Error, zlib.error) as cause:
        raise InvalidPosition(f"{name[:100]!r} is no event id of ours") from cause
    return Resume(cursor, heard)


async def whole(name: str, vectors: Vectors) -> str:
    """The same place under a name that has its vector in it: good for ever. Raises VectorsAway, and LookupError for one long gone."""
    base, dot, moved = name.partition(".")
    if not base.startswith("k"):
        return name
    found = await vectors.find(base[1:])
    if found is None:
        raise LookupError(name)
    return _inline(found) + dot + moved


def name_of(cursor: Cursor) -> str:
    """The name of the place where everything behind a cursor begins; it has its vector in it."""
    return _inline(str(cursor))


def _inline(vector: str) -> str:
    return "v" + base64.urlsafe_b64encode(zlib.compress(vector.encode())).decode().rstrip("=")


async def _written(cursor: Cursor, vectors: Vectors) -> str:
    text = str(cursor)
    inline = _inline(text)
    if len(inline) <= _INLINE_CHARACTERS:
        return inline
    name = hashlib.sha256(text.encode()).hexdigest()[:32]
    try:
        await vectors.keep(name, text)
    except VectorsAway:
        return inline
    return "k" + name


def _number(value: int) -> str:
    digits = ""
    while True:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
        if not value:
            return digits
