"""GraphQL types derived from the wire models, so that both views say the same: a field more there is a field more here."""

import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, NewType

import strawberry
from pydantic import AwareDatetime, BaseModel
from strawberry.scalars import JSON

Time = NewType("Time", str)
SCALARS: Mapping[Any, Any] = {Time: strawberry.scalar(name="Time", description="RFC 3339, UTC.", serialize=str, parse_value=str)}
_PLAIN: Mapping[Any, Any] = {str: str, int: int, float: float, bool: bool}
_DERIVED: dict[type[BaseModel], type] = {}


def derived(model: type[BaseModel], *, bases: tuple[type, ...] = (), without: tuple[str, ...] = (), **more: Any) -> type:
    """A type with the model's fields and `more` of its own, which are strawberry fields with their resolvers. Made once."""
    if model not in _DERIVED:
        named = {name: _type(info.annotation) for name, info in model.model_fields.items() if name not in (*without, *more)}
        namespace: dict[str, Any] = {"__annotations__": named, "__doc__": model.__doc__, "__module__": __name__, **more}
        _DERIVED[model] = strawberry.type(types.new_class(model.__name__, bases, exec_body=lambda body: body.update(namespace)))
    return _DERIVED[model]


def _type(annotation: Any) -> Any:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin in (typing.Union, types.UnionType):
        (kind,) = [each for each in inner if each is not type(None)]
        return typing.Optional[_type(kind)] if len(inner) > 1 else _type(kind)  # noqa: UP045 - made at run time, of any type
    if origin in (list, tuple):
        return list[_type(inner[0])]  # type: ignore[misc]
    if annotation is AwareDatetime or (isinstance(annotation, type) and annotation.__name__ in ("datetime", "AwareDatetime")):
        return Time
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return derived(annotation)
        if issubclass(annotation, Enum):
            return str
    # Maps, and whatever has no shape of its own.
    return _PLAIN.get(annotation, JSON)
