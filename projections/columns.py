"""The columns of a row dataclass, derived: how each field is stored, and the way back, the same bytes every time."""

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from operator import attrgetter
from typing import Any, Protocol, TypeAlias, TypeVar

from events.sealing import Sealed

R = TypeVar("R")
Convert: TypeAlias = Callable[[Any], Any]


class Stored(Enum):
    """How a column is kept. What is neither plain nor sealed is canonical JSON text."""

    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    REAL = "real"
    DECIMAL = "decimal"
    TIME = "time"
    BYTES = "bytes"
    JSON = "json"


_PLAIN: dict[type, Stored] = {
    str: Stored.TEXT,
    int: Stored.INTEGER,
    bool: Stored.BOOLEAN,
    float: Stored.REAL,
    Decimal: Stored.DECIMAL,
    datetime: Stored.TIME,
    bytes: Stored.BYTES,
}


class ByName(Protocol):
    """Stored values by the names of their columns."""

    def __getitem__(self, name: str, /) -> Any: ...


class UnsupportedColumn(TypeError):
    """A field's type has no column; the text names class and field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One field. `lower` makes the stored value, `build` the field's again; None where they are the same."""

    name: str
    stored: Stored
    nullable: bool
    lower: Convert | None = None
    build: Convert | None = None


def columns_of(row: type) -> tuple[Column, ...]:
    """The columns of a row dataclass in the order of its fields. Raises UnsupportedColumn."""
    if not is_dataclass(row):
        raise UnsupportedColumn(f"{row.__qualname__} is no dataclass")
    hints = typing.get_type_hints(row)
    try:
        return tuple(_column(field.name, hints[field.name]) for field in fields(row))
    except UnsupportedColumn as cause:
        raise UnsupportedColumn(f"{row.__qualname__}.{cause}") from None


def lowering(columns: tuple[Column, ...]) -> Callable[[Any], list[Any]]:
    """A function from a row to its stored values, in the order of its columns: written out, for it is run for every row written."""
    steps = {f"step{at}": column.lower for at, column in enumerate(columns)}
    values = [
        f"row.{column.name}" if column.lower is None
        else f"step{at}(row.{column.name})" if not column.nullable
        else f"None if row.{column.name} is None else step{at}(row.{column.name})"
        for at, column in enumerate(columns)
    ]  # fmt: skip
    # Columns are named by fields, which are identifiers.
    lower: Callable[[Any], list[Any]] = eval(f"lambda row: [{', '.join(values)}]", dict(steps))  # noqa: S307
    return lower


def building(row: type[R], columns: tuple[Column, ...]) -> Callable[[ByName], R]:
    """The way back, from stored values by their names. Raises ValueError for a symbol that an open set does not know."""
    steps = [(column.name, column.build) for column in columns]

    def build(stored: ByName) -> R:
        return row(**{name: stored[name] if step is None else step(stored[name]) for name, step in steps})

    return build


def _column(name: str, hint: Any) -> Column:
    inner, nullable = _optional(hint)
    if inner in _PLAIN:
        return Column(name=name, stored=_PLAIN[inner], nullable=nullable)
    if inner is Sealed or typing.get_origin(inner) is Sealed:
        return _with(name, Stored.BYTES, nullable, lower_sealed, build_sealed)
    if isinstance(inner, type) and issubclass(inner, Enum) and issubclass(inner, str):
        return _with(name, Stored.TEXT, nullable, lambda symbol: symbol.value, inner)
    to_plain, of_plain = _json(name, inner)
    empty = "{}" if typing.get_origin(inner) is Mapping else None

    def lower(value: Any) -> str:
        # Mostly there is nothing in a mapping.
        return empty if empty and not value else canonical(to_plain(value))

    if isinstance(inner, type) and is_dataclass(inner):
        return _with(name, Stored.JSON, nullable, _spelling(inner), lambda text: of_plain(json.loads(text)))
    return _with(name, Stored.JSON, nullable, lower, lambda text: of_plain(json.loads(text)))


def _with(name: str, stored: Stored, nullable: bool, lower: Convert, build: Convert) -> Column:
    return Column(name=name, stored=stored, nullable=nullable, lower=_unless_none(lower, nullable), build=_unless_none(build, nullable))


def _unless_none(step: Convert, nullable: bool) -> Convert:
    return (lambda value: None if value is None else step(value)) if nullable else step


def _optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [argument for argument in typing.get_args(hint) if argument is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return hint, False


def lower_sealed(sealed: Sealed[Any]) -> bytes:
    """Two bytes length of the subject, subject, box: one value, the same bytes as came from the log."""
    subject = sealed.subject.encode()
    return len(subject).to_bytes(2, "big") + subject + sealed.box


def build_sealed(stored: bytes) -> Sealed[Any]:
    """The way back."""
    end = 2 + int.from_bytes(stored[:2], "big")
    return Sealed(stored[2:end].decode(), stored[end:])


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
# What json itself spells these by. Asked for by their exact type: anything that is derived from them is json's to judge.
_SPELT: dict[type, Callable[[Any], str]] = {
    int: int.__repr__,
    bool: {False: "false", True: "true"}.__getitem__,
    type(None): lambda _: "null",
}


def canonical(plain: Any) -> str:
    """JSON with one spelling: keys sorted, no spaces, characters as they are."""
    return _CANONICAL.encode(plain)


def _json(name: str, hint: Any) -> tuple[Convert, Convert]:
    """To plain JSON values and back."""
    inner, nullable = _optional(hint)
    if nullable:
        to_plain, of_plain = _json(name, inner)
        return _unless_none(to_plain, nullable), _unless_none(of_plain, nullable)
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if inner in (str, int, bool, float):
        return _same, _same
    if inner in _LEAVES:
        return _LEAVES[inner]
    if origin is Sealed or inner is Sealed:
        return lambda sealed: [sealed.subject, sealed.box.hex()], lambda plain: Sealed(plain[0], bytes.fromhex(plain[1]))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        to_plain, of_plain = _json(name, arguments[0])
        return lambda values: [to_plain(value) for value in values], lambda plain: tuple(of_plain(value) for value in plain)
    if origin is not None and issubclass(origin, Mapping) and arguments[0] is str:
        to_plain, of_plain = _json(name, arguments[1])
        return (
            lambda entries: {key: to_plain(value) for key, value in entries.items()},
            lambda plain: {key: of_plain(value) for key, value in plain.items()},
        )
    if isinstance(inner, type) and issubclass(inner, Enum) and issubclass(inner, str):
        return lambda symbol: symbol.value, inner
    if isinstance(inner, type) and is_dataclass(inner):
        return _record(inner)
    raise UnsupportedColumn(f"{name}: {hint} has no column; use str, int, bool, float, Decimal, datetime, bytes, Sealed[T], a StrEnum, "
                            "a dataclass, tuple[X, ...], Mapping[str, X] or X | None")  # fmt: skip


def _record(cls: type) -> tuple[Convert, Convert]:
    hints = typing.get_type_hints(cls)
    steps = [(field.name, *_json(f"{cls.__qualname__}.{field.name}", hints[field.name])) for field in fields(cls)]
    return (
        lambda value: {name: to_plain(getattr(value, name)) for name, to_plain, _ in steps},
        lambda plain: cls(**{name: of_plain(plain[name]) for name, _, of_plain in steps}),
    )


def _spelling(cls: type) -> Callable[[Any], str]:
    """`canonical` of a record's plain value, without the values in between; for there are several in most facts of a turn."""
    hints = typing.get_type_hints(cls)
    steps = []
    for at, name in enumerate(sorted(field.name for field in fields(cls))):
        to_plain, _ = _json(f"{cls.__qualname__}.{name}", hints[name])
        steps.append((f"{',' if at else ''}{canonical(name)}:", attrgetter(name), None if to_plain is _same else to_plain))

    def spelt(value: Any) -> str:
        text = "{"
        for head, get, to_plain in steps:
            plain = get(value) if to_plain is None else to_plain(get(value))
            spell = _SPELT.get(type(plain))
            text += head + (canonical(plain) if spell is None else spell(plain))
        return text + "}"

    return spelt


def _same(value: Any) -> Any:
    return value


_LEAVES: dict[Any, tuple[Convert, Convert]] = {
    Decimal: (str, Decimal),
    datetime: (datetime.isoformat, datetime.fromisoformat),
    bytes: (bytes.hex, bytes.fromhex),
}
