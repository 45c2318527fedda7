"""Any value that is built of frozen dataclasses as plain lists and back, by its type alone: how signals, effects and states are kept.

A dataclass becomes the list of its fields; where a type leaves open which dataclass it is, its name comes first. `forms` says which
fields a name had when it was written, so that a later program reads them by name: what it does not know is left out, what it has
more of has its default.
"""

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

Pack: TypeAlias = Callable[[Any], Any]
Forms: TypeAlias = Mapping[str, Sequence[str]]

_AS_IS = (str, int, float, bool, bytes, datetime, type(None))


class NotPlain(TypeError):
    """A type that cannot be kept: it holds more than data."""


def same(value: Any) -> Any:
    """What needs no change."""
    return value


@cache
def packer(hint: Any) -> Pack:
    """Makes plain values of such values; `same` where they are plain already. Raises NotPlain."""
    origin, of = get_origin(hint), get_args(hint)
    if hint in _AS_IS or hint is Any or isinstance(hint, TypeVar) or origin is Literal:
        return same
    if origin in (Union, types.UnionType):
        return _pack_union(of)
    if is_dataclass(origin or hint):
        return _pack_fields(origin or hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return attrgetter("value")
    if hint is Decimal:
        return str
    if origin in (tuple, list, Sequence, frozenset, set, AbstractSet):
        return _pack_many(origin, of)
    if origin in (dict, Mapping):
        each = packer(of[1])
        return dict if each is same else lambda value: {key: each(one) for key, one in value.items()}
    raise NotPlain(f"{hint} cannot be kept")


def _pack_many(origin: Any, of: tuple[Any, ...]) -> Pack:
    if origin is tuple and (len(of) != 2 or of[1] is not Ellipsis):
        packers = tuple(packer(each) for each in of)
        return lambda value: [pack(one) for pack, one in zip(packers, value, strict=True)]
    each = packer(of[0])
    if origin in (frozenset, set, AbstractSet):
        return lambda value: sorted(map(each, value))
    return same if each is same else lambda value: [each(one) for one in value]


def _pack_fields(kind: Any) -> Pack:
    hints, names = get_type_hints(kind), [each.name for each in fields(kind)]
    packers = [packer(hints[name]) for name in names]
    if not names:
        return lambda _: ()
    if all(pack is same for pack in packers):
        take = attrgetter(*names)
        return take if len(names) > 1 else lambda value: (take(value),)
    pairs = [(attrgetter(name), pack) for name, pack in zip(names, packers, strict=True)]
    return lambda value: [pack(get(value)) for get, pack in pairs]


def _pack_union(of: tuple[Any, ...]) -> Pack:
    named = {get_origin(each) or each: packer(each) for each in of if is_dataclass(get_origin(each) or each)}
    rest = [each for each in of if not is_dataclass(get_origin(each) or each) and each is not type(None)]
    if not named:
        odd = [pack for each in rest if (pack := packer(each)) is not same]
        if len(rest) == 1 and odd:
            (only,) = odd
            return lambda value: None if value is None else only(value)
        if odd:
            raise NotPlain(f"a value of {of} cannot be told from another")
        return same
    if rest:
        raise NotPlain(f"a value of {of} cannot be told from another")
    if len(named) == 1 and len(of) == 2:
        (only,) = named.values()
        return lambda value: None if value is None else only(value)

    return lambda value: None if value is None else (type(value).__name__, *named[type(value)](value))


class Reader:
    """Makes values of what was packed, by the forms that they had then."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self._made: dict[Any, Pack] = {}

    def of(self, hint: Any) -> Pack:
        """The way back from what `packer(hint)` makes. Raises NotPlain."""
        if hint not in self._made:
            self._made[hint] = self._of(hint)
        return self._made[hint]

    def _of(self, hint: Any) -> Pack:
        origin, of = get_origin(hint), get_args(hint)
        if hint in _AS_IS or hint is Any or isinstance(hint, TypeVar) or origin is Literal:
            return same
        if origin in (Union, types.UnionType):
            return self._union(of)
        if is_dataclass(origin or hint):
            return self.dataclass(origin or hint)
        if (isinstance(hint, type) and issubclass(hint, Enum)) or hint is Decimal:
            made: Pack = hint
            return made
        if origin in (dict, Mapping):
            each = self.of(of[1])
            return same if each is same else lambda value: {key: each(one) for key, one in value.items()}
        return self._many(hint, origin, of)

    def _many(self, hint: Any, origin: Any, of: tuple[Any, ...]) -> Pack:
        if origin is tuple and (len(of) != 2 or of[1] is not Ellipsis):
            readers = tuple(self.of(each) for each in of)
            return lambda value: tuple(read(one) for read, one in zip(readers, value, strict=True))
        if origin not in (tuple, list, Sequence, frozenset, set, AbstractSet):
            raise NotPlain(f"{hint} cannot be kept")
        each, whole = self.of(of[0]), {list: list, set: set}.get(origin, frozenset if origin in (frozenset, AbstractSet) else tuple)
        made: Pack = whole
        return made if each is same else lambda value: whole([each(one) for one in value])

    def dataclass(self, kind: Any, *, before: int = 0) -> Pack:
        """A dataclass from the list of its fields, of which the first `before` are something else's."""
        hints, now = get_type_hints(kind), {each.name for each in fields(kind)}
        written = self._forms.get(_name(kind), [each.name for each in fields(kind)])
        known = [(place, name, self.of(hints[name])) for place, name in enumerate(written, before) if name in now]
        if all(read is same for _, _, read in known) and len(known) == len(written):
            names = tuple(name for _, name, _ in known)
            if before:
                return lambda value: kind(**dict(zip(names, value[before:], strict=True)))
            return lambda value: kind(**dict(zip(names, value, strict=True)))
        return lambda value: kind(**{name: read(value[place]) for place, name, read in known})

    def _union(self, of: tuple[Any, ...]) -> Pack:
        kinds = [get_origin(each) or each for each in of if is_dataclass(get_origin(each) or each)]
        if not kinds:
            odd = [read for each in of if (read := self.of(each)) is not same]
            return (lambda value: None if value is None else odd[0](value)) if odd else same
        if len(kinds) == 1 and len(of) == 2:
            only = self.of(kinds[0])
            return lambda value: None if value is None else only(value)
        readers = {kind.__name__: self.dataclass(kind, before=1) for kind in kinds}

        return lambda value: None if value is None else readers[value[0]](value)


def _name(kind: Any) -> str:
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def forms_of(hints: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """The fields of every dataclass that values of these types may hold, by its name. Raises NotPlain where two share a name."""
    found: dict[str, Any] = {}
    waiting = list(hints)
    while waiting:
        hint = waiting.pop()
        kind = get_origin(hint) or hint
        waiting += get_args(hint)
        if is_dataclass(kind):
            name = _name(kind)
            if name not in found:
                waiting += get_type_hints(kind).values()
            if found.setdefault(name, kind) is not kind:
                raise NotPlain(f"two types are called {name}")
    return {name: tuple(each.name for each in fields(kind)) for name, kind in sorted(found.items())}
