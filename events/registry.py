"""Every kind of fact, found by its permanent name and version."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from typing import TypeAlias, TypeVar

Fact: TypeAlias = object
F = TypeVar("F")


class UnknownEvent(LookupError):
    """A name and version that no module of this program declares: a newer writer's, or a foreign one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A kind of fact. `name` and `version` are for ever; the class may be renamed and moved within its room."""

    name: str
    version: int
    room: str
    cls: type
    record: str = ""
    """The record's name in its schema, for ever; empty: that of the class."""
    ce_type: str = field(init=False)
    """The CloudEvents type, e.g. `consent-granted.v1`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ce_type", f"{self.name}.v{self.version}")

    def __hash__(self) -> int:
        # Every commit asks whether its kinds are on the log: a text knows its hash, five fields do not.
        return hash(self.ce_type)


_BY_TYPE: dict[str, EventType] = {}
_BY_CLASS: dict[type, EventType] = {}


def event(name: str, *, version: int, record: str = "") -> Callable[[type[F]], type[F]]:
    """Declare a frozen dataclass to be an event. Place it above `@dataclass`.

    `record`: what the class was called when its schema was first written, where it is called otherwise by now.
    """

    def declare(cls: type[F]) -> type[F]:
        if not is_dataclass(cls):
            raise TypeError(f"{cls.__qualname__} is no dataclass; put @event above @dataclass(frozen=True, slots=True, kw_only=True)")
        kind = EventType(name=name, version=version, room=cls.__module__.split(".")[1], cls=cls, record=record)
        other = _BY_TYPE.setdefault(kind.ce_type, kind)
        if other.cls.__qualname__ != cls.__qualname__ or other.room != kind.room:
            raise TypeError(f"{kind.ce_type} is declared by {other.cls.__qualname__} already")
        _BY_TYPE[kind.ce_type] = kind
        _BY_CLASS[cls] = kind
        return cls

    return declare


def type_of(fact: Fact) -> EventType:
    """The kind of a fact at hand. Raises UnknownEvent for an object that is no event."""
    return type_of_class(type(fact))


def type_of_class(cls: type) -> EventType:
    """The kind of a class's facts. Raises UnknownEvent."""
    try:
        return _BY_CLASS[cls]
    except KeyError:
        raise UnknownEvent(f"{cls.__qualname__} is not declared with @event") from None


def type_named(ce_type: str) -> EventType:
    """The kind with this CloudEvents type. Raises UnknownEvent."""
    try:
        return _BY_TYPE[ce_type]
    except KeyError:
        raise UnknownEvent(f"{ce_type} is not known to this program") from None


def known_types() -> Iterator[EventType]:
    """All kinds in the order of their names. Import `events.rooms` first, so that all are declared."""
    return iter(sorted(_BY_TYPE.values(), key=lambda kind: (kind.room, kind.name, kind.version)))
