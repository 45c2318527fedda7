"""How things are written on the wire, the same for every room: texts, money, times, pages, positions."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from api.ports import Ports
from api.problems import BAD_CURSOR, NOT_FOUND, At, Problem
from events.positions import InvalidPosition, Reach, read_reach, write_reach

T = TypeVar("T")
LARGEST_PAGE = 100
POSITION = "Aybiza-Position"
"""The header in which an answer says its place on the log: a change, where it stands; a read, up to where it is true."""
MOST_PLACES = 1024
"""More partitions than any answer is of."""
_MARK = 8
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_PARAGRAPHS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# ISO 4217: currencies whose minor unit is not a hundredth.
_WITHOUT_MINOR_UNIT = frozenset({"CLP", "ISK", "JPY", "KRW", "VND", "XAF", "XOF", "XPF"})
_IN_THOUSANDTHS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})


class Wire(BaseModel):
    """What every wire model is: frozen, and closed to fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _one_line(text: str) -> str:
    if _UNPRINTABLE.search(text):
        raise ValueError("must be one line without control characters")
    return text


def _paragraphs(text: str) -> str:
    if _NOT_IN_PARAGRAPHS.search(text):
        raise ValueError("must have no control characters but new lines and tabs")
    return text


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)]
Paragraphs = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_paragraphs)]


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as cause:
        raise ValueError("must be within the years 1 to 9999, in UTC") from cause


Time: TypeAlias = AwareDatetime
GivenTime: TypeAlias = Annotated[Time, AfterValidator(_in_utc)]
"""A time that somebody may choose: near the ends of the calendar not every one is a time in UTC."""


class Money(Wire):
    """An amount in minor units of its currency (cents), as a decimal string; what a price list has below a cent is kept."""

    amount: str = Field(examples=["1.375"], pattern=r"^-?[0-9]+(\.[0-9]+)?$")
    currency: str = Field(examples=["USD"], pattern="^[A-Z]{3}$")


def money(amount: Decimal, currency: str) -> Money:
    """From an amount in major units."""
    digits = 0 if currency in _WITHOUT_MINOR_UNIT else 3 if currency in _IN_THOUSANDTHS else 2
    minor = amount.scaleb(digits).normalize()
    return Money(amount=f"{minor:f}", currency=currency)


class Accepted(Wire):
    """The change is on the log; what follows from it is under way."""

    position: str = Field(description="Where on the log. Give it to a read as `min-position` to see at least this.")


class Page(Wire, Generic[T]):
    """Some of a list. `next_cursor` asks for what follows, whatever was added meanwhile."""

    data: list[T]
    has_more: bool
    next_cursor: str | None = None


def page_of(entries: Sequence[T], cursor: str | None) -> Page[T]:
    """`cursor`: of the place after the last entry, None at the end of the list."""
    return Page(data=list(entries), has_more=cursor is not None, next_cursor=cursor)


def write_place(place: Sequence[object]) -> str:
    """Opaque to clients: the JSON of a place in a list."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def read_place(text: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The place that a cursor of ours names. Raises Problem for another list's, or for none of ours."""
    if text is None:
        return None
    try:
        place = json.loads(base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as cause:
        raise foreign_cursor() from cause
    if not isinstance(place, list) or [type(part) for part in place] != list(kinds) or not all(map(_storable, place)):
        raise foreign_cursor()
    return tuple(place)


def bound(path: str, cursor: str) -> str:
    """A cursor that only the list at a path (not percent-encoded) takes. Whose list it is plays no part: each sees their own."""
    digest = hashlib.blake2b(path.encode(), digest_size=_MARK * 3 // 4).digest()
    return base64.urlsafe_b64encode(digest).decode() + cursor


def unbound(path: str, cursor: str) -> str:
    """What was bound. Raises Problem for another list's, or for none of ours."""
    if cursor != bound(path, cursor[_MARK:]):
        raise foreign_cursor()
    return cursor[_MARK:]


def write_seen(reach: Reach | str, at: datetime) -> str:
    """Up to where an answer of a moment is true. Opaque to clients: how far its rows were, partition by partition, and the moment."""
    return f"{reach if isinstance(reach, str) else write_reach(reach)}@{int(at.timestamp() * 1000)}"


def read_seen(text: str) -> tuple[Reach, datetime]:
    """Raises InvalidPosition."""
    told, _, at = text.rpartition("@")
    reach = read_reach(told)
    if len(reach) > MOST_PLACES or not (at.isascii() and at.isdecimal() and len(at) < 15):
        raise InvalidPosition(f"{text[:200]!r} is not what an answer said")
    return reach, datetime.fromtimestamp(int(at) / 1000, UTC)


def _storable(part: object) -> bool:
    return 0 <= part < 1 << 53 if isinstance(part, int) else is_one_line(str(part))


def is_one_line(text: str) -> bool:
    """Whether a text has no control characters, of which the databases cannot keep some."""
    return not _UNPRINTABLE.search(text)


def foreign_cursor() -> Problem:
    """400: the cursor is none of ours, or another list's."""
    return Problem(
        BAD_CURSOR, BAD_CURSOR.meaning, errors=[At(parameter="cursor", detail="is not one that this list gave; begin without it")]
    )


Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]


async def ports_of(request: Request) -> Ports:
    """What `create_app` was wired with. Not a plain function: those the framework sends to a thread, which costs more than a query."""
    ports: Ports = request.app.state.ports
    return ports


Wired = Annotated[Ports, Depends(ports_of)]


def found(thing: T | None, what: str) -> T:
    """The thing, or 404. Raises Problem."""
    if thing is None:
        raise nothing(what)
    return thing


def nothing(what: str) -> Problem:
    """404: no such thing, or not the caller's to see."""
    return Problem(NOT_FOUND, f"There is no such {what}.")


def proper_id(text: str, prefix: str, what: str) -> str:
    """An id of ours as it stands in a path; one that could never be ours is not found. Raises Problem."""
    if not text.startswith(prefix) or not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", text):
        raise nothing(what)
    return text
