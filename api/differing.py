"""What two JSON documents differ in, pointer by pointer (RFC 6901)."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import zip_longest
from typing import Any

from api.wire import Wire


class What(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    REPLACED = "replaced"


class Difference(Wire):
    """One place. `before` is null where it was added, `after` where it was removed."""

    what: What
    pointer: str
    before: Any = None
    after: Any = None


_NOT_THERE = object()


def differences(before: Any, after: Any, pointer: str = "") -> Iterator[Difference]:
    """In the order of the pointers. Lists are compared member by member, from their beginning."""
    if before is _NOT_THERE:
        yield Difference(what=What.ADDED, pointer=pointer, after=after)
    elif after is _NOT_THERE:
        yield Difference(what=What.REMOVED, pointer=pointer, before=before)
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            escaped = name.replace("~", "~0").replace("/", "~1")
            yield from differences(before.get(name, _NOT_THERE), after.get(name, _NOT_THERE), f"{pointer}/{escaped}")
    elif isinstance(before, list) and isinstance(after, list):
        for at, (was, now) in enumerate(zip_longest(before, after, fillvalue=_NOT_THERE)):
            yield from differences(was, now, f"{pointer}/{at}")
    # True is 1 to Python, and is not to JSON.
    elif before != after or isinstance(before, bool) is not isinstance(after, bool):
        yield Difference(what=What.REPLACED, pointer=pointer, before=before, after=after)
