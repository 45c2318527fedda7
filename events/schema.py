"""Avro schemas derived from event dataclasses, and the conversions between a fact and Avro's plain values."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from decimal import Context, Decimal
from enum import Enum
from typing import Any, TypeAlias

from events.registry import EventType
from events.sealing import Sealed

Schema: TypeAlias = Any
Convert: TypeAlias = Callable[[Any], Any]
# 26 whole digits and 12 behind the point: rates per token have up to 10, and totals stay exact.
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 12}
_QUANTUM = Decimal(1).scaleb(-12)
# Python's usual 28 digits would round what the schema can hold.
_WHOLE = Context(prec=38)
_PLAIN: dict[type, Schema] = {
    str: "string",
    bool: "boolean",
    int: "long",
    float: "double",
    bytes: "bytes",
    datetime: {"type": "long", "logicalType": "timestamp-micros"},
    Decimal: DECIMAL,
}


class UnsupportedField(TypeError):
    """A field's type has no place in our schemas; the text names class and field."""


def schema_of(kind: EventType) -> Schema:
    """The schema of one kind of event, as committed under `schemas/events/<room>/`."""
    schema = _record(kind.cls, f"aybiza.{kind.room}", seen={})
    return {**schema, "name": kind.record or schema["name"], "event": kind.name, "version": kind.version}


def _record(cls: type, namespace: str, seen: dict[type, str]) -> Schema:
    seen[cls] = f"{namespace}.{cls.__name__}"
    hints = typing.get_type_hints(cls)
    described = []
    for field in fields(cls):
        try:
            entry: dict[str, Any] = {"name": field.name, "type": _type(hints[field.name], namespace, seen)}
        except UnsupportedField as cause:
            raise UnsupportedField(f"{cls.__qualname__}.{field.name}: {cause}") from None
        if field.default is not MISSING:
            entry["default"] = _default(field.default, entry["type"])
        elif field.default_factory is not MISSING:
            entry["default"] = _default(field.default_factory(), entry["type"])
        described.append(entry)
    document = (cls.__doc__ or "").strip().splitlines()
    return {"type": "record", "name": cls.__name__, "namespace": namespace, "doc": document[0] if document else "", "fields": described}


def _type(hint: Any, namespace: str, seen: dict[type, str]) -> Schema:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sealed or hint is Sealed:
        if Sealed in seen:
            return seen[Sealed]
        seen[Sealed] = "aybiza.Sealed"
        parts = [{"name": "subject", "type": "string"}, {"name": "box", "type": "bytes"}]
        return {"type": "record", "name": "Sealed", "namespace": "aybiza", "fields": parts}
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1 or len(arguments) != 2:
            raise UnsupportedField(f"a union must be `X | None`, not {hint}")
        return ["null", _type(inner[0], namespace, seen)]
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": _type(arguments[0], namespace, seen)}
    if origin in (dict, Mapping) and arguments[0] is str:
        return {"type": "map", "values": _type(arguments[1], namespace, seen)}
    if isinstance(hint, type):
        if hint in _PLAIN:
            return _PLAIN[hint]
        # Open sets are strings: an Avro enum would make an old reader take a new symbol for the first one.
        if issubclass(hint, Enum) and issubclass(hint, str):
            return "string"
        if is_dataclass(hint):
            return seen[hint] if hint in seen else _record(hint, namespace, seen)
    raise UnsupportedField(
        f"{hint} is not supported; use str, int, float, bool, bytes, Decimal, datetime, a StrEnum, a dataclass, Sealed[T], X | None, "
        "tuple[X, ...] or Mapping[str, X]"
    )


def _default(value: Any, schema: Schema) -> Any:
    if isinstance(schema, list) and value is not None:
        raise UnsupportedField("an optional field's default must be None")
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if value == ():
        return []
    if value == {}:
        return {}
    raise UnsupportedField(f"the default {value!r} has no form in Avro")


def lowering(cls: type) -> Convert:
    """A function from a dataclass's instance to the plain dictionary that Avro encodes."""
    hints = typing.get_type_hints(cls)
    steps = [(field.name, _lower(hints[field.name])) for field in fields(cls)]
    plain = [name for name, step in steps if step is None]
    converted = [(name, step) for name, step in steps if step is not None]

    def lower(value: Any) -> dict[str, Any]:
        entry = {name: getattr(value, name) for name in plain}
        for name, step in converted:
            entry[name] = step(getattr(value, name))
        return entry

    return lower


def raising(cls: type) -> Convert:
    """The way back. Raises ValueError for a symbol that an open set does not know yet."""
    hints = typing.get_type_hints(cls)
    converted = [(field.name, step) for field in fields(cls) if (step := _raise(hints[field.name])) is not None]

    def build(entry: dict[str, Any]) -> Any:
        for name, step in converted:
            entry[name] = step(entry[name])
        return cls(**entry)

    return build


def unscaled_of(amount: Decimal) -> int:
    """An amount in the smallest unit that the schema holds. Raises ArithmeticError for one that does not fit."""
    return int(amount.quantize(_QUANTUM, context=_WHOLE).scaleb(12, context=_WHOLE))


def amount_of(unscaled: int) -> Decimal:
    """The way back. Raises ArithmeticError."""
    if abs(unscaled) >= 10**_WHOLE.prec:
        raise OverflowError(f"an amount has more than {_WHOLE.prec} digits")
    return _shorten(Decimal(unscaled).scaleb(-12, context=_WHOLE))


def _lower(hint: Any) -> Convert | None:
    return _convert(hint, lambda sealed: {"subject": sealed.subject, "box": sealed.box}, lambda _: lambda symbol: symbol.value, lowering,
                    lambda amount: amount.quantize(_QUANTUM, context=_WHOLE))  # fmt: skip


def _raise(hint: Any) -> Convert | None:
    return _convert(hint, lambda entry: Sealed(entry["subject"], entry["box"]), lambda symbols: symbols, raising, _shorten)


def _shorten(amount: Decimal) -> Decimal:
    # Equal amounts compare equal whatever their exponent; short ones read better and have one JSON form.
    short = amount.normalize(_WHOLE)
    return short.quantize(Decimal(1), context=_WHOLE) if short == short.to_integral_value() else short


def _convert(
    hint: Any, sealed: Convert, symbols: Callable[[type], Convert], record: Callable[[type], Convert], amount: Convert
) -> Convert | None:
    def inner(part: Any) -> Convert | None:
        return _convert(part, sealed, symbols, record, amount)

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sealed or hint is Sealed:
        return sealed
    if origin in (typing.Union, types.UnionType):
        present = inner(next(argument for argument in arguments if argument is not type(None)))
        return None if present is None else lambda value: None if value is None else present(value)
    if origin is tuple:
        each = inner(arguments[0])
        return tuple if each is None else lambda values: tuple(each(value) for value in values)
    if origin in (dict, Mapping):
        step = inner(arguments[1])
        return dict if step is None else lambda entries: {key: step(value) for key, value in entries.items()}
    if hint is Decimal:
        return amount
    if isinstance(hint, type) and issubclass(hint, Enum):
        return symbols(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return record(hint)
    return None
