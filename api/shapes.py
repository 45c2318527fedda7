"""What a route's answer is made of: the fields that may be asked for one by one, and the things that it refers to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.problems import UNKNOWN_EXPANSION, UNKNOWN_FIELD, At, Kind, Problem
from api.versions import Deprecated, declared
from api.wire import Page

PARTIAL = "application/vnd.aybiza.partial+json"
"""The media type of an answer with some of its fields only: it is not what the whole one promises."""
EXPANDED = "expanded"
_MOST_NAMES = 60
Mask = dict[str, Any]
"""The fields that are wanted, each with the wanted ones of what it holds; none: all of it."""


@dataclass(frozen=True, slots=True)
class Refers:
    """Declares of a wire model's field that its value leads to another thing: `Annotated[str, Refers("agent", "/v1/agents/{}")]`."""

    name: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A route's answer: of one thing, or of a list of such things (`paged`). `references` by name: the field, and the address."""

    operation: str
    paged: bool
    fields: Mapping[str, Any]
    references: Mapping[str, tuple[str, str]]
    deprecated: Sequence[Deprecated] = field(default=())

    def things(self, document: Any) -> list[dict[str, Any]]:
        """What the answer is about."""
        return list(document["data"]) if self.paged else [document]

    def of(self, document: Any, things: list[Any]) -> Any:
        """The answer with other things in it."""
        return {**document, "data": things} if self.paged else things[0]


def shapes_of(routes: Iterable[APIRoute]) -> dict[Any, Shape]:
    """The shape of every route that answers with a model of ours, by its endpoint."""
    return {route.endpoint: shape for route in routes if (shape := _shape(route)) is not None}


def _shape(route: APIRoute) -> Shape | None:
    model, paged = route.response_model, False
    if isinstance(model, type) and issubclass(model, Page):
        model, paged = get_args(model.model_fields["data"].annotation)[0], True
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        return None
    references = {
        each.name: (name, each.href) for name, info in model.model_fields.items() for each in info.metadata if isinstance(each, Refers)
    }
    old = [each for info in model.model_fields.values() for each in info.metadata if isinstance(each, Deprecated)]
    by_route = declared(route.openapi_extra)
    return Shape(
        operation=route.name, paged=paged, fields=_fields(model), references=references if "GET" in (route.methods or ()) else {},
        deprecated=tuple(old if by_route is None else (by_route, *old)),
    )  # fmt: skip


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {name: {} if (inner := _held(info.annotation)) is None else _fields(inner) for name, info in model.model_fields.items()}


def _held(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, list, tuple):
        return next((model for each in get_args(annotation) if (model := _held(each)) is not None), None)
    return None


def dotted(fields: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """All names that `fields` takes."""
    for name, inner in fields.items():
        yield before + name
        yield from dotted(inner, f"{before}{name}.")


def names_in(texts: Sequence[str], kind: Kind, parameter: str) -> list[str]:
    """Names as they stand in a query, apart by commas or each in a parameter of its own. Raises Problem for more than anybody needs."""
    names = list(dict.fromkeys(name.strip() for text in texts for name in text[:10_000].split(",") if name.strip()))
    if len(names) > _MOST_NAMES:
        raise _unknown(kind, parameter, f"more than {_MOST_NAMES} names", [])
    return names


def mask_of(names: Sequence[str], known: Mapping[str, Any]) -> Mask:
    """What is wanted. Raises Problem for a name that is not there."""
    mask: Mask = {}
    for name in names:
        into, place = mask, known
        for part in name.split("."):
            if part not in place:
                raise _unknown(UNKNOWN_FIELD, "fields", name, list(dotted(known)))
            place, into = place[part], into.setdefault(part, {})
    return mask


def masked(document: Any, mask: Mask) -> Any:
    """Only what is wanted of a document; lists are masked member by member."""
    if not mask:
        return document
    if isinstance(document, list):
        return [masked(each, mask) for each in document]
    if not isinstance(document, dict):
        return document
    return {name: masked(value, mask.get(name, {})) for name, value in document.items() if name in mask or name == EXPANDED}


def must_be_references(names: Sequence[str], shape: Shape) -> None:
    """Raises Problem for a name that nothing here refers to."""
    for name in names:
        if name not in shape.references:
            raise _unknown(UNKNOWN_EXPANSION, "expand", name, sorted(shape.references))


def _unknown(kind: Kind, parameter: str, name: str, possible: list[str]) -> Problem:
    there_are = f"there are {', '.join(possible)}" if possible else "there are none here"
    at = [At(parameter=parameter, detail=f"{name[:80]!r} is not there")]
    return Problem(kind, f"{parameter} takes no {name[:80]!r}; {there_are}.", errors=at, possible=possible)
