"""Commands and orders as bytes, for their way to another process or through a file: what comes back is what went, or a clear refusal.

A command: layout (1), length (1) and UTF-8 of its type's name, 8 bytes mark of its derived schema, then its fields in Avro's binary
encoding. A field that holds a fact of several kinds carries it as the log would.

An order, big-endian:

    offset  size  field
         0     1  layout (1)
         1    16  command id
        17    16  digest
        33     8  when it was wanted, microseconds since 1970 UTC
        41     1  whether it has a cause
        42    16  causation: commit id of the causing record
        58     4  causation: its index
        62    16  correlation id
        78    16  trace id
        94     8  span id
       102     4  depth of causation
       106     n  actor, UTF-8
"""

import struct
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from commands.decider import Decider
from commands.dispatch import Order
from events.codec import BrokenBody, UnknownSchema
from events.forms import Form
from events.headers import ZERO_16
from events.recorded import EventId
from events.registry import UnknownEvent
from events.rooms import prepared_codec
from events.schema import Schema

_LAYOUT = 1
_ORDER = struct.Struct(">B16s16sqB16sI16s16s8sI")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UnknownCommand(Exception):
    """Another version of the program wrote it. The text says which command, and what to do."""


class BrokenCommand(ValueError):
    """The bytes are no command or order of this layout, whoever wrote them."""


class CommandWire:
    """Encodes and decodes every command that the deciders name in the type of their `decide`. Holds no I/O."""

    def __init__(self, deciders: Mapping[str, Decider[Any, Any, Any]]) -> None:
        self._codec = codec = prepared_codec()
        self._by_class: dict[tuple[str, type], tuple[bytes, Form]] = {}
        self._by_head: dict[tuple[str, bytes], Form] = {}
        for category, decider in deciders.items():
            for cls in _commands_of(decider):
                form = Form(cls, decider.room, codec)
                name = cls.__name__.encode()
                head = bytes((_LAYOUT, len(name))) + name + form.mark
                self._by_class[category, cls] = head, form
                self._by_head[category, head] = form

    def encode(self, category: str, command: object) -> bytes:
        """Raises UnknownCommand for what no decider of this category takes."""
        found = self._by_class.get((category, type(command)))
        if found is None:
            raise UnknownCommand(f"{type(command).__name__} is no command of {category!r}; name it in the type of the decider's `decide`")
        head, form = found
        return head + form.encode(command)

    def decode(self, category: str, data: bytes) -> object:
        """Raises UnknownCommand, or BrokenCommand for what can never be read."""
        head = data[: 10 + data[1]] if len(data) > 1 else b""
        form = self._by_head.get((category, head))
        if form is None:
            raise self._strange(category, data)
        try:
            return form.decode(data[len(head) :])
        except (UnknownEvent, UnknownSchema) as cause:
            raise UnknownCommand(f"{form.cls.__name__} of {category!r} carries a fact that this program does not know: {cause}; "
                                 "start the program of the version that wrote it, or a newer one") from cause  # fmt: skip
        except BrokenBody as cause:
            raise BrokenCommand(f"{category!r}: {cause}") from cause

    def marks(self) -> Mapping[str, bytes]:
        """The mark of every command, as `category/Command`: programs with the same marks read each other."""
        return {f"{category}/{cls.__name__}": form.mark for (category, cls), (_, form) in sorted(
            self._by_class.items(), key=lambda each: (each[0][0], each[0][1].__name__))}  # fmt: skip

    def schemas(self) -> Sequence[Schema]:
        """Of the facts that commands can carry, by which a newer program reads them."""
        kinds = {kind.ce_type: kind for _, form in self._by_class.values() for kind in form.kinds}
        return [self._codec.schema_of(kind)[1] for _, kind in sorted(kinds.items())]

    def learn(self, schemas: Iterable[Schema]) -> None:
        """Take facts that were written with these schemas, too."""
        for schema in schemas:
            self._codec.learn(schema)

    def encode_order(self, order: Order) -> bytes:
        """Raises ValueError for ids of another length."""
        cause = order.causation or EventId(ZERO_16, 0)
        for each in (order.command_id, order.digest, cause.commit_id, order.correlation_id, order.trace_id):
            if len(each) != 16:
                raise ValueError("an order's ids have 16 bytes")
        return _ORDER.pack(
            _LAYOUT, order.command_id, order.digest, (order.occurred_at - _EPOCH) // _MICROSECOND, order.causation is not None,
            cause.commit_id, cause.index, order.correlation_id, order.trace_id, order.span_id, order.depth,
        ) + order.actor.encode()  # fmt: skip

    def decode_order(self, data: bytes) -> Order:
        """Raises UnknownCommand for another layout, BrokenCommand."""
        if data[:1] and data[0] != _LAYOUT:
            raise UnknownCommand(
                f"an order of layout {data[0]}; this program knows layout {_LAYOUT}: start the program of the same version"
            )
        try:
            _, command_id, digest, at_us, caused, commit_id, index, correlation_id, trace_id, span_id, depth = _ORDER.unpack_from(data)
            return Order(
                command_id=command_id, digest=digest, actor=data[_ORDER.size :].decode(), occurred_at=_EPOCH + at_us * _MICROSECOND,
                correlation_id=correlation_id, causation=EventId(commit_id, index) if caused else None, depth=depth, trace_id=trace_id,
                span_id=span_id,
            )  # fmt: skip
        except (struct.error, UnicodeDecodeError, OverflowError) as cause:
            raise BrokenCommand(f"an order cannot be read: {cause}") from cause

    def _strange(self, category: str, data: bytes) -> UnknownCommand | BrokenCommand:
        if len(data) < 2 or len(data) < 10 + data[1]:
            return BrokenCommand(f"{len(data)} bytes are no command of {category!r}")
        if data[0] != _LAYOUT:
            return UnknownCommand(f"a command of {category!r} in layout {data[0]}; this program knows layout {_LAYOUT}: "
                                  "start the program of the same version")  # fmt: skip
        name = data[2 : 2 + data[1]].decode("utf-8", "backslashreplace")
        known = any(of == category and cls.__name__ == name for of, cls in self._by_class)
        what = "has other fields here" if known else "is not known here"
        return UnknownCommand(f"{name} of {category!r} {what}; start the program of the version that wrote it, or a newer one")


def _commands_of(decider: Decider[Any, Any, Any]) -> list[type]:
    """The dataclasses in the type of `decide`'s first parameter. A decider that takes anything takes nothing from elsewhere."""
    hint = next(iter(typing.get_type_hints(decider.decide).values()))
    return [cls for cls in typing.get_args(hint) or (hint,) if is_dataclass(cls) and isinstance(cls, type)]
