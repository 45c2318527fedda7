"""Avro's binary encoding of a dataclass as a function of its own, written out and compiled: the very bytes that fastavro writes."""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from itertools import count
from typing import Any, TypeAlias

from events.primitives import DOUBLE, LONGS, amount_bytes, amount_in, block_at, length_at, long_at, micros_of, moment_of
from events.schema import UnsupportedField
from events.sealing import Sealed

Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[bytes], Any]


def encoder(cls: type, prefix: bytes) -> Encode:
    """A function from an instance to `prefix` and its fields. It raises whatever a value of another type leads to."""
    source = _Writing()
    source.names |= {"PREFIX": prefix, "join": b"".join}
    source.parts.append("PREFIX")
    source.define("encode(value)", ["out = []"], lambda: source.fields(cls, "value"), ["return join(out)"])
    return typing.cast(Encode, source.compiled("encode"))


def decoder(cls: type, start: int) -> Decode:
    """The way back, from the byte at `start` on; what follows the last field is not looked at.

    Raises EOFError, IndexError, KeyError, TypeError, ValueError or ArithmeticError for bytes that are no such encoding.
    """
    source = _Reading()
    whole = ["if at > len(data): raise EOFError('cut')", "return value"]
    source.define("decode(data)", [f"at = {start}"], lambda: source.fields(cls, "value"), whole)
    return typing.cast(Decode, source.compiled("decode"))


class _Source:
    """Functions in the making. Names in it are counted or our own; of the classes it holds field names only, which are identifiers."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._lines: list[str] = []
        self._depth = 0
        self._count = count()
        self._defined: dict[type, str] = {}
        self._waiting: list[type] = []

    def line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    def fresh(self) -> str:
        return f"v{next(self._count)}"

    def name(self, value: Any) -> str:
        """A name by which the source finds a value."""
        name = f"c{next(self._count)}"
        self.names[name] = value
        return name

    def within(self, head: str, body: Callable[[], None]) -> None:
        self.line(f"{head}:")
        self._depth += 1
        body()
        self._depth -= 1

    def define(self, head: str, before: Sequence[str], body: Callable[[], None], after: Sequence[str]) -> None:
        def whole() -> None:
            for each in before:
                self.line(each)
            body()
            self.close()
            for each in after:
                self.line(each)

        self.within(f"def {head}", whole)

    def close(self) -> None:
        """End a run of plain values."""

    def function_of(self, cls: type) -> str:
        """The name of the function for a dataclass within others, which may hold itself."""
        if cls not in self._defined:
            self._defined[cls] = f"f{next(self._count)}"
            self._waiting.append(cls)
        return self._defined[cls]

    def nested(self, cls: type, function: str) -> None:
        raise NotImplementedError

    def compiled(self, function: str) -> Any:
        while self._waiting:
            cls = self._waiting.pop()
            self.nested(cls, self._defined[cls])
        exec("\n".join(self._lines), self.names)  # noqa: S102 - our own source, see above
        return self.names[function]


class _Writing(_Source):
    """Appends to `out`. Plain values are gathered in `parts` and appended together."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.names |= {"LONGS": LONGS, "double": DOUBLE.pack, "micros": micros_of, "amount": amount_bytes}

    def close(self) -> None:
        if self.parts:
            self.line(f"out += ({', '.join(self.parts)},)")
            self.parts.clear()

    def fields(self, cls: type, value: str) -> None:
        hints = typing.get_type_hints(cls)
        for field in fields(cls):
            self.value(hints[field.name], f"{value}.{field.name}")

    def nested(self, cls: type, function: str) -> None:
        self.define(f"{function}(value, out)", [], lambda: self.fields(cls, "value"), ["return"])

    def value(self, hint: Any, value: str) -> None:
        kind, inner = _kind(hint)
        if kind in {str, bytes, Enum, Decimal}:
            text = self.fresh()
            made = {str: f"{value}.encode()", bytes: value, Enum: f"{value}.value.encode()", Decimal: f"amount({value})"}[kind]
            self.line(f"{text} = {made}")
            self.parts += [f"LONGS[len({text})]", text]
        elif kind is bool:
            self.parts.append(f"b'\\1' if {value} else b'\\0'")
        elif kind is int:
            self.parts.append(f"LONGS[{value}]")
        elif kind is float:
            self.parts.append(f"double({value})")
        elif kind is datetime:
            self.parts.append(f"LONGS[micros({value})]")
        elif kind is Sealed:
            self.value(str, f"{value}.subject")
            self.value(bytes, f"{value}.box")
        elif kind is None:
            self._optional(inner, value)
        elif kind in {tuple, dict}:
            self._many(kind, inner, value)
        else:
            self.close()
            self.line(f"{self.function_of(kind)}({value}, out)")

    def _optional(self, inner: Any, value: str) -> None:
        self.close()
        held = self.fresh()
        self.line(f"{held} = {value}")
        self.within(f"if {held} is None", lambda: self.line("out.append(b'\\0')"))

        def present() -> None:
            self.parts.append("b'\\2'")
            self.value(inner, held)
            self.close()

        self.within("else", present)

    def _many(self, kind: type, inner: Any, value: str) -> None:
        self.close()
        held, key, each = self.fresh(), self.fresh(), self.fresh()
        self.line(f"{held} = {value}")

        def entry() -> None:
            if kind is dict:
                self.value(str, key)
            self.value(inner, each)
            self.close()

        def entries() -> None:
            self.line(f"out.append(LONGS[len({held})])")
            self.within(f"for {key}, {each} in {held}.items()" if kind is dict else f"for {each} in {held}", entry)

        self.within(f"if {held}", entries)
        self.parts.append("b'\\0'")


class _Reading(_Source):
    """Reads from `data` at `at`."""

    def __init__(self) -> None:
        super().__init__()
        self.names |= {"long": long_at, "length": length_at, "block": block_at, "double": DOUBLE.unpack_from}
        self.names |= {"moment": moment_of, "amount": amount_in, "Sealed": Sealed, "new": object.__new__}

    def fields(self, cls: type, value: str) -> None:
        hints = typing.get_type_hints(cls)
        read = {field.name: self.fresh() for field in fields(cls)}
        for name, held in read.items():
            self.value(hints[name], held)
        slots = [cls.__dict__.get(name) for name in read]
        if hasattr(cls, "__post_init__") or not all(isinstance(slot, types.MemberDescriptorType) for slot in slots):
            self.line(f"{value} = {self.name(cls)}({', '.join(f'{name}={held}' for name, held in read.items())})")
            return
        # As a frozen dataclass's own __init__ does it, in a third of the time.
        self.line(f"{value} = new({self.name(cls)})")
        for slot, held in zip(slots, read.values(), strict=True):
            self.line(f"{self.name(typing.cast(types.MemberDescriptorType, slot).__set__)}({value}, {held})")

    def nested(self, cls: type, function: str) -> None:
        self.define(f"{function}(data, at)", [], lambda: self.fields(cls, "value"), ["return value, at"])

    def value(self, hint: Any, held: str) -> None:
        kind, inner = _kind(hint)
        if kind in {str, bytes, Enum, Decimal}:
            self._sized(kind, hint, held)
        elif kind is bool:
            self.line(f"{held} = data[at] != 0; at += 1")
        elif kind in {int, datetime}:
            self.line(f"{held} = data[at]; at += 1")
            self.line(f"if {held} > 127: {held}, at = long(data, at - 1)")
            self.line(f"else: {held} = ({held} >> 1) ^ -({held} & 1)")
            if kind is datetime:
                self.line(f"{held} = moment({held})")
        elif kind is float:
            self.line("if len(data) < at + 8: raise EOFError('cut')")
            self.line(f"{held}, = double(data, at); at += 8")
        elif kind is Sealed:
            subject, box = self.fresh(), self.fresh()
            self.value(str, subject)
            self.value(bytes, box)
            self.line(f"{held} = Sealed({subject}, {box})")
        elif kind is None:
            self._optional(inner, held)
        elif kind in {tuple, dict}:
            self._many(kind, inner, held)
        else:
            self.line(f"{held}, at = {self.function_of(kind)}(data, at)")

    def _sized(self, kind: type, hint: Any, held: str) -> None:
        self.line("n = data[at]; at += 1")
        self.line("if n > 127 or n & 1: n, at = length(data, at - 1)")
        self.line("else: n >>= 1")
        self.line("e = at + n")
        box = "data[at:e]"
        made = {str: f"{box}.decode()", bytes: box, Decimal: f"amount({box})"}.get(kind)
        if made is None:
            made = f"{self.name({each.value: each for each in hint})}[{box}.decode()]"
        self.line(f"{held} = {made}; at = e")

    def _optional(self, inner: Any, held: str) -> None:
        self.line("n = data[at]; at += 1")
        self.within("if n == 2", lambda: self.value(inner, held))
        self.within("elif n == 0", lambda: self.line(f"{held} = None"))
        self.within("else", lambda: self.line("raise ValueError('a union has two branches')"))

    def _many(self, kind: type, inner: Any, held: str) -> None:
        many, key, each = self.fresh(), self.fresh(), self.fresh()

        def entry() -> None:
            if kind is dict:
                self.value(str, key)
            self.value(inner, each)
            self.line(f"{held}[{key}] = {each}" if kind is dict else f"{held}.append({each})")

        def blocks() -> None:
            self.line(f"{many}, at = block(data, at)")
            self.line(f"if not {many}: break")
            self.within(f"for _ in range({many})", entry)

        self.line(f"{held} = {'{}' if kind is dict else '[]'}")
        self.within("while True", blocks)
        if kind is tuple:
            self.line(f"{held} = tuple({held})")


def _kind(hint: Any) -> tuple[Any, Any]:
    """What a type is to Avro, and the type within: None for an optional one, Enum for an open set, else a plain type or a dataclass."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Sealed or hint is Sealed:
        return Sealed, None
    if origin in (typing.Union, types.UnionType):
        return None, next(argument for argument in arguments if argument is not type(None))
    if origin is tuple:
        return tuple, arguments[0]
    if origin in (dict, Mapping):
        return dict, arguments[1]
    if hint in (str, bytes, bool, int, float, datetime, Decimal):
        return hint, None
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Enum, None
    if isinstance(hint, type) and is_dataclass(hint):
        return hint, None
    raise UnsupportedField(f"{hint} is not supported")
