"""A frozen row with some of its fields changed: the copy that every fold makes of every row, written out and compiled."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

R = TypeVar("R")


def replaced(row: R, **changes: Any) -> R:
    """As `dataclasses.replace`, for rows: twenty times as fast, for it runs no `__init__`. Names are not checked."""
    cls = type(row)
    copied = _COPIES.get(cls)
    if copied is None:
        copied = _COPIES[cls] = _compiled(cls)
    return copied(row, changes)  # type: ignore[no-any-return]


_COPIES: dict[type, Callable[[Any, dict[str, Any]], Any]] = {}


def _compiled(cls: type) -> Callable[[Any, dict[str, Any]], Any]:
    """A frozen class takes no assignment, so the copy is made in a twin with the same slots, and becomes one of `cls` when it is whole."""
    names = tuple(each.name for each in fields(cls))
    twin = type(cls.__name__, (), {"__slots__": names})
    takes = "".join(f"    copy.{name} = row.{name}\n" for name in names)
    source = (
        f"def copied(row, changes):\n    copy = new(twin)\n{takes}"
        "    for name in changes:\n        SETTERS[name](copy, changes[name])\n    copy.__class__ = cls\n    return copy\n"
    )
    setters = {name: getattr(twin, name).__set__ for name in names}
    namespace: dict[str, Any] = {"new": object.__new__, "twin": twin, "cls": cls, "SETTERS": setters}
    exec(source, namespace)  # noqa: S102 - names of fields are identifiers
    found: Callable[[Any, dict[str, Any]], Any] = namespace["copied"]
    return found
