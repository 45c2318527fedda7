"""Any instance of a dataclass, drawn from its type hints: for facts and for commands."""

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st

from events.sealing import Sealed

T = TypeVar("T")
Strategy: TypeAlias = st.SearchStrategy[Any]

# All that the log's types hold.
_PLAIN: Mapping[type, Strategy] = {
    str: st.text(max_size=40),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    bytes: st.binary(max_size=60),
    Decimal: st.decimals(Decimal(1 - 10**26), Decimal(10**26 - 1), places=12, allow_nan=False),
    datetime: st.datetimes(timezones=st.just(UTC)),
}
FEW: Mapping[type, Strategy] = {
    str: st.sampled_from(["a", "b"]),
    int: st.integers(0, 4),
    bytes: st.sampled_from([b"a", b"b"]),
    Decimal: st.sampled_from([Decimal(0), Decimal("1.5")]),
    datetime: st.sampled_from([datetime(2026, 11, 20, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]),
}
"""So few values that a random history meets itself."""


def instances(cls: type[T], plain: Mapping[type, Strategy] | None = None, **named: Strategy) -> st.SearchStrategy[T]:
    """Instances of a dataclass. `plain` says how values of plain types are drawn, `named` how a field of that name is."""
    drawn = {**_PLAIN, **(plain or {})}
    hints = typing.get_type_hints(cls)
    entries = {
        each.name: named[each.name] if each.name in named else _values(hints[each.name], drawn, named)
        for each in fields(cls)  # type: ignore[arg-type]
    }
    return st.builds(cls, **entries)


def any_of(union: Any, plain: Mapping[type, Strategy] | None = None, **named: Strategy) -> Strategy:
    """Instances of any member of a union of dataclasses, or of the only one."""
    return st.one_of(*(instances(member, plain, **named) for member in typing.get_args(union) or (union,)))


def _values(hint: Any, plain: Mapping[type, Strategy], named: Mapping[str, Strategy]) -> Strategy:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sealed:
        return st.builds(Sealed, plain[str], plain[bytes])
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if each is type(None) else _values(each, plain, named) for each in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_values(arguments[0], plain, named), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(_values(each, plain, named) for each in arguments))
    if origin in (dict, Mapping):
        return st.dictionaries(_values(arguments[0], plain, named), _values(arguments[1], plain, named), max_size=3)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return instances(hint, plain, **named)
    return plain[hint]
