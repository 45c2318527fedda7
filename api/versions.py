"""Date versions: an answer is made in the newest form, and carried back, change by change, to the one that a key was made for."""

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import format_datetime
from typing import Any

HEADER = "Aybiza-Version"
CHANGED = "/docs#versions"
SENT = "aybiza.sent"
"""In the state of a request: its body as it was sent, where a newer form of it is read."""
FIRST = "2026-11-20"
# How long an older version is answered, at least, from the day that the next one came.
_YEARS_KEPT = 2


def _same(thing: Any) -> Any:
    return thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What answers have been like since a day, `YYYY-MM-DD`, where they were otherwise before.

    `operations` are those of the OpenAPI document whose answers changed; `back` makes the older form of one thing, alone or in a list.
    `bodies` are those whose bodies did; `forth` makes the newer form of one. `described` gives the document its older form, in place.
    """

    since: str
    operations: Collection[str]
    told: str
    back: Callable[[Any], Any]
    bodies: Collection[str] = ()
    forth: Callable[[Any], Any] = _same
    described: Callable[[Any], Any] = _same


def _environment_was_never_null(number: Any) -> Any:
    return {**number, "environment": number["environment"] or ""}


def _environment_may_be_empty(body: Any) -> Any:
    return {**body, "environment": None} if body.get("environment") == "" else body


def _environment_as_it_was(document: Any) -> None:
    schemas = document["components"]["schemas"]
    text = {"type": "string", "title": "Environment", "description": "Where it is looked up which version answers; empty: the live one."}
    given = {**text, "pattern": r"^([a-z0-9][a-z0-9_.-]{0,99})?$"}
    schemas["Number"]["properties"]["environment"] = text
    schemas["NewNumber"]["properties"]["environment"] = {**given, "default": ""}
    schemas["NumberChanges"]["properties"]["environment"] = {"title": "Environment", "anyOf": [given, {"type": "null"}]}


CHANGES: Sequence[Change] = (
    Change(
        since="2026-11-22", operations={"assign_number", "get_number", "list_numbers"}, bodies={"assign_number", "change_number"},
        told="A number without an environment has `environment: null`, in answers and in bodies, where it had an empty text.",
        back=_environment_was_never_null, forth=_environment_may_be_empty, described=_environment_as_it_was,
    ),
)  # fmt: skip
"""In the order of their days. Only what takes something away from answers, or gives it or a body another form, is one."""


class NoSuchVersion(LookupError):
    """A request names a version that there is not; the text says which there are."""


class Versions:
    """The versions that there are, and the way from the newest to each."""

    def __init__(self, changes: Sequence[Change] = CHANGES) -> None:
        self._changes = changes
        self.known = tuple(sorted({FIRST, *(change.since for change in changes)}))

    @property
    def changes(self) -> Sequence[Change]:
        """What there was to change, in the order of its days."""
        return self._changes

    @property
    def newest(self) -> str:
        """What a key that is made now is made for."""
        return self.known[-1]

    def chosen(self, named: str | None, pinned: str) -> str:
        """The version that a request is answered in: named by itself, else its key's. Raises NoSuchVersion."""
        if named is None:
            # A key from before there were versions has the first; one of a newer program that was taken back has our newest.
            return max((each for each in self.known if each <= pinned), default=FIRST)
        if named not in self.known:
            raise NoSuchVersion(f"There is no version {named[:40]!r}; there are {', '.join(self.known)}.")
        return named

    def since(self, version: str, operation: str) -> Sequence[Change]:
        """What has changed of an operation's answers since a version, the newest first: to be taken back in this order."""
        return [change for change in reversed(self._changes) if change.since > version and operation in change.operations]

    def taking(self, version: str, operation: str) -> Sequence[Change]:
        """What has changed of an operation's bodies since a version, the oldest first: to be brought forward in this order."""
        return [change for change in self._changes if change.since > version and operation in change.bodies]

    def described(self, document: dict[str, Any], version: str) -> dict[str, Any]:
        """The document of a version, made of the newest one's, which stays as it is."""
        older = deepcopy(document)
        for change in reversed(self._changes):
            if change.since > version:
                change.described(older)
        return older

    def ageing(self, version: str) -> dict[str, str]:
        """The headers that say of an older version since when it is, and until when it is answered; none for the newest."""
        newer = [each for each in self.known if each > version]
        if not newer:
            return {}
        followed = date.fromisoformat(newer[0])
        return Deprecated(since=followed, sunset=followed.replace(year=followed.year + _YEARS_KEPT), instead=CHANGED).headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecated:
    """Declares that a route, or a field of what it answers, is to be used no more. `instead`: a page that says what is."""

    since: date
    sunset: date | None = None
    instead: str = "/docs"

    def headers(self) -> dict[str, str]:
        """`Deprecation` (RFC 9745), `Sunset` (RFC 8594), and where to read on."""
        told = {"Deprecation": f"@{int(_midnight(self.since).timestamp())}", "Link": f'<{self.instead}>; rel="deprecation"'}
        if self.sunset is not None:
            told["Sunset"] = format_datetime(_midnight(self.sunset), usegmt=True)
        return told


_EXTRA = "x-aybiza-deprecated"


def deprecated(*, since: date, sunset: date | None = None, instead: str = "/docs") -> dict[str, Any]:
    """For a route's decorator: `@router.get("/old", **deprecated(since=date(2027, 1, 1)))`."""
    told = {"since": since.isoformat(), "sunset": sunset and sunset.isoformat(), "instead": instead}
    return {"deprecated": True, "openapi_extra": {_EXTRA: told}}


def declared(extra: dict[str, Any] | None) -> Deprecated | None:
    """What a route's decorator was told."""
    told = (extra or {}).get(_EXTRA)
    if told is None:
        return None
    sunset = told["sunset"] and date.fromisoformat(told["sunset"])
    return Deprecated(since=date.fromisoformat(told["since"]), sunset=sunset or None, instead=told["instead"])


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
