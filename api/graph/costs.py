"""What a query would cost before it is run: how deep it reaches, and how many things it may have fetched."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

MOST_DEEP = 12
MOST_COSTLY = 1_000
PAGE = 20
LARGEST_PAGE = 100
# A query about the schema itself reaches deep and fetches nothing.
_SCHEMA_DEEP = 16


class TooCostly(Exception):
    """The query is deeper, or may fetch more, than one query may; the text says how much."""


class Cost(NamedTuple):
    depth: int
    things: int


def must_be_affordable(document: DocumentNode, operation: str | None, variables: Mapping[str, Any]) -> Cost:
    """A field that leads to a thing counts 1, a list as many as are asked for, each with what is asked of it. Raises TooCostly."""
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    asked = [each for each in operations if operation is None or (each.name is not None and each.name.value == operation)]
    counted = _Counted(fragments, variables, {})
    costs = [_selected(each.selection_set, counted, ()) for each in asked]
    cost = Cost(max((each.depth for each in costs), default=0), max((each.things for each in costs), default=0))
    if cost.depth > MOST_DEEP:
        raise TooCostly(f"the query is {cost.depth} levels deep; {MOST_DEEP} are allowed")
    if cost.things > MOST_COSTLY:
        raise TooCostly(f"the query may fetch {cost.things} things; {MOST_COSTLY} are allowed: ask for fewer at once")
    return cost


class _Counted(NamedTuple):
    """Each fragment is counted once, however often it is spread."""

    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]
    known: dict[str, Cost]


def _selected(chosen: SelectionSetNode | None, counted: _Counted, within: tuple[str, ...]) -> Cost:
    depth = things = 0
    for each in chosen.selections if chosen is not None else ():
        if isinstance(each, FieldNode):
            inner = _field(each, counted, within)
        elif isinstance(each, InlineFragmentNode):
            inner = _selected(each.selection_set, counted, within)
        elif isinstance(each, FragmentSpreadNode) and each.name.value in counted.fragments:
            name = each.name.value
            if name in within:
                raise TooCostly(f"the fragment {name} leads to itself")
            if name not in counted.known:
                counted.known[name] = _selected(counted.fragments[name].selection_set, counted, (*within, name))
            inner = counted.known[name]
        else:
            continue
        depth, things = max(depth, inner.depth), things + inner.things
        if things > MOST_COSTLY * LARGEST_PAGE:
            raise TooCostly(f"the query may fetch more than {things} things; {MOST_COSTLY} are allowed")
    return Cost(depth, things)


def _field(node: FieldNode, counted: _Counted, within: tuple[str, ...]) -> Cost:
    inner = _selected(node.selection_set, counted, within)
    if node.name.value.startswith("__"):
        if inner.depth > _SCHEMA_DEEP:
            raise TooCostly(f"the query about the schema is {inner.depth} levels deep; {_SCHEMA_DEEP} are allowed")
        return Cost(1, 1)
    if node.selection_set is None:
        return Cost(1, 0)
    asked = next((each.value for each in node.arguments or () if each.name.value == "first"), None)
    if asked is None and node.name.value not in _LISTS:
        return Cost(inner.depth + 1, inner.things + 1)
    first: Any = PAGE
    if isinstance(asked, IntValueNode):
        first = int(asked.value)
    elif isinstance(asked, VariableNode):
        first = counted.variables.get(asked.name.value, PAGE)
    many = min(max(first, 1), LARGEST_PAGE) if isinstance(first, int) else LARGEST_PAGE
    return Cost(inner.depth + 1, 1 + many * max(1, inner.things))


_LISTS = frozenset(
    {"agents", "allVersions", "callers", "calls", "environments", "events", "flags", "numbers", "timeline", "usages", "webhooks"}
)
"""Fields that lead to a page of things, however many are asked for."""
