"""The GraphQL schema: the things of an organisation and how they hang together, each as its route answers, in pages as Relay has them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

import strawberry
from graphql import GraphQLError
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig
from strawberry.types import Info

from api import agents, calls, cloudevents, consents, environments, flags, numbers, organisations, usage, webhooks
from api.graph.costs import LARGEST_PAGE, PAGE
from api.graph.deriving import SCALARS, derived
from api.sealing import CALLER
from api.wire import bound, write_place
from api.within import Answer, Asker, Within
from events.sealing import KeyRing
from events.streams import PLATFORM
from projections.queries import cursor_of

T = TypeVar("T")
_AT_ONCE = 16
_LONGEST_NAME = 200


@dataclass(slots=True)
class Asked:
    """One request: who asks, and what was fetched for it already."""

    within: Within
    asker: Asker
    organisation: str
    keyring: KeyRing
    as_of: str | None = None
    fetched: dict[tuple[str, tuple[Any, ...]], "asyncio.Task[Answer]"] = field(default_factory=dict)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    async def ask(self, path: str, **query: Any) -> Answer:
        """What the route answers; asked once."""
        key = path, tuple(sorted(query.items()))
        if key not in self.fetched:
            self.fetched[key] = self.tasks.create_task(self._fetch(path, query), name=f"ask {path}")
        return await self.fetched[key]

    async def _fetch(self, path: str, query: Mapping[str, Any]) -> Answer:
        async with self.places:
            return await self.within(self.asker, path, {**query, "as-of": self.as_of})

    async def one(self, path: str, name: str) -> Any:
        """The thing whose address a name fills; None where there is none for this caller."""
        if not name or "/" in name or len(name) > _LONGEST_NAME:
            return None
        answer = await self.ask(path.format(quote(name, safe="")))
        if answer.status == 404:
            return None
        return must_be_well(answer).document


def must_be_well(answer: Answer) -> Answer:
    """Raises GraphQLError with what the problem document says."""
    if answer.status != 200:
        told = answer.document
        extensions: dict[str, Any] = {name: told[name] for name in ("code", "status", "retryable", "needed", "errors") if name in told}
        raise GraphQLError(str(told["detail"]), extensions=extensions)
    return answer


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[T]):
    node: T
    cursor: str


@strawberry.type
class Connection(Generic[T]):
    """A page. `after` takes any `cursor` or `endCursor` of the same list; it stays right when things are added."""

    edges: list[Edge[T]]
    page_info: PageInfo

    @strawberry.field
    def nodes(self) -> list[T]:
        return [edge.node for edge in self.edges]


Place = Callable[[Asked, Mapping[str, Any]], str]


def _by(name: str, cut: int = 0) -> Place:
    return lambda asked, thing: cursor_of(_row(str(thing[name])[cut:], asked.organisation))


def _number_place(asked: Asked, thing: Mapping[str, Any]) -> str:
    return cursor_of(_row(asked.keyring.reference(PLATFORM, str(thing["number"])), PLATFORM))


def _version_place(_asked: Asked, thing: Mapping[str, Any]) -> str:
    return write_place([thing["version"]])


def _row(row_id: str, tenant: str) -> Any:
    return SimpleNamespace(id=row_id, tenant=tenant)


async def connected(info: Info[Asked, None], path: str, place: Place, first: int, after: str | None, **query: Any) -> Any:
    """A route's page as a connection."""
    if not 1 <= first <= LARGEST_PAGE:
        raise GraphQLError(f"first is between 1 and {LARGEST_PAGE}", extensions={"code": "invalid-request"})
    asked = info.context
    page = must_be_well(await asked.ask(path, limit=first, cursor=after, **query)).document
    edges = [Edge(node=thing, cursor=bound(unquote(path), place(asked, thing))) for thing in page["data"]]
    return Connection(
        edges=edges,
        page_info=PageInfo(
            has_next_page=page["has_more"], has_previous_page=False, start_cursor=edges[0].cursor if edges else None,
            end_cursor=page["next_cursor"] or (edges[-1].cursor if edges else None),
        ),
    )  # fmt: skip


@strawberry.interface
class Node:
    """A thing that can be had again by its `nodeId`, which is its address."""

    node_id: strawberry.ID


def _page(node: type, path: str, place: Place, why: str, *fills: str, **query: Any) -> Any:
    """A field that leads to a page of things below the thing that it stands on."""

    async def resolve(root: Any, info: Info[Asked, None], first: int = PAGE, after: str | None = None) -> Any:
        return await connected(info, path.format(*(quote(str(root[each]), safe="") for each in fills)), place, first, after, **query)

    return _field(resolve, Connection[node], why)  # type: ignore[valid-type]  # made at run time


def _one(node: type, path: str, fills: str, why: str) -> Any:
    """A field that leads to the thing at an address which a value of this one fills."""

    async def resolve(root: Any, info: Info[Asked, None]) -> Any:
        return await info.context.one(path, root[fills]) if root[fills] else None

    return _field(resolve, node | None, why)


def _address(path: str, fills: str) -> Any:
    def resolve(root: Any) -> Any:
        return path.format(root[fills])

    return _field(resolve, strawberry.ID, "Its address, by which `node` finds it.")


def _field(resolve: Any, kind: Any, why: str) -> Any:
    resolve.__annotations__["root"] = strawberry.Parent[JSON]
    resolve.__annotations__["return"] = kind
    return strawberry.field(resolve, description=why)


def _node(model: type[Any], path: str, fills: str, **more: Any) -> type:
    def is_type_of(value: Any, _info: Any) -> bool:
        return bool(value.get(_KIND, model.__name__) == model.__name__)

    made = derived(model, bases=(Node,), node_id=_address(path, fills), is_type_of=staticmethod(is_type_of), **more)
    _PLACES[path.partition("/")[0]] = model.__name__
    return made


_KIND = "__kind"
_PLACES: dict[str, str] = {}
"""The kind of thing that stands at an address, by the address's first part."""

Flag = _node(flags.Flag, "flags/{}", "name")
Environment = _node(environments.Environment, "environments/{}", "name")
Webhook = _node(webhooks.Webhook, "webhooks/{}", "id")
Caller = _node(consents.Caller, "consents/{}", "id")
CloudEvent = _node(cloudevents.CloudEvent, "events/{}", "id")
Organisation = _node(organisations.Organisation, "organisations/{}", "id")
AgentVersion = derived(agents.AgentVersion)
Agent = _node(
    agents.Agent, "agents/{}", "id",
    all_versions=_page(AgentVersion, "/v1/agents/{}/versions", _version_place, "Every version that was published.", "id"),
)  # fmt: skip
Number = _node(numbers.Number, "numbers/{}", "number", agent=_one(Agent, "/v1/agents/{}", "agent_id", "Who answers it."))
Usage = derived(usage.Usage)
TimelineEntry = derived(calls.TimelineEntry)
RecordedFact = derived(calls.RecordedFact)
Call = _node(
    calls.Call, "calls/{}", "id",
    agent=_one(Agent, "/v1/agents/{}", "agent_id", "Who spoke."),
    usage=_one(Usage, "/v1/calls/{}/usage", "id", "What it used, once it has ended."),
    timeline=_page(TimelineEntry, "/v1/calls/{}/timeline", _version_place, "What was said and heard.", "id"),
    events=_page(RecordedFact, "/v1/calls/{}/events", _version_place, "Its facts, as they were recorded.", "id"),
)  # fmt: skip


async def _find(info: Info[Asked, None], id: strawberry.ID) -> Any:  # noqa: A002 - the argument's name in Relay
    """A thing of the caller's by its address; null for what is not there, or not theirs."""
    kind, _, name = str(id).partition("/")
    if kind not in _PLACES:
        return None
    found = await info.context.one(f"/v1/{kind}/{{}}", name)
    return None if found is None else {**found, _KIND: _PLACES[kind]}


async def _calls(info: Info[Asked, None], first: int = PAGE, after: str | None = None, status: str | None = None) -> Any:
    return await connected(info, "/v1/calls", _by("id"), first, after, status=status)


def _root(resolve: Any, kind: Any, why: str) -> Any:
    resolve.__annotations__["return"] = kind
    return strawberry.field(resolve, description=why)


def _all(node: type, path: str, place: Place, why: str) -> Any:
    async def resolve(info: Info[Asked, None], first: int = PAGE, after: str | None = None) -> Any:
        return await connected(info, path, place, first, after)

    return _root(resolve, Connection[node], why)  # type: ignore[valid-type]  # made at run time


def _by_name(node: type, path: str, why: str) -> Any:
    async def resolve(info: Info[Asked, None], id: str) -> Any:  # noqa: A002 - the argument's name in the schema
        return await info.context.one(path, id)

    return _root(resolve, node | None, why)


_QUERY: dict[str, Any] = {
    "node": _root(_find, Node | None, "Any thing, by its `nodeId`."),
    "call": _by_name(Call, "/v1/calls/{}", "A call."),
    "calls": _root(_calls, Connection[Call], "The organisation's calls, newest first."),  # type: ignore[valid-type]
    "agent": _by_name(Agent, "/v1/agents/{}", "An agent."),
    "agents": _all(Agent, "/v1/agents", _by("id"), "The organisation's agents, in the order of their ids."),
    "numbers": _all(Number, "/v1/numbers", _number_place, "The organisation's phone numbers."),
    "callers": _all(Caller, "/v1/consents", _by("id", len(CALLER)), "Who has said what they allow."),
    "usages": _all(Usage, "/v1/usage", _by("call_id"), "What calls used."),
    "flag": _by_name(Flag, "/v1/flags/{}", "A flag, by its name."),
    "flags": _all(Flag, "/v1/flags", _by("name"), "The flags that are set, by name."),
    "environments": _all(Environment, "/v1/environments", _by("name"), "The organisation's environments, by name."),
    "webhook": _by_name(Webhook, "/v1/webhooks/{}", "A webhook."),
    "webhooks": _all(Webhook, "/v1/webhooks", _by("id"), "Where events are sent."),
    "event": _by_name(CloudEvent, "/v1/events/{}", "A fact, as it was told, by its id."),
    "organisation": _by_name(Organisation, "/v1/organisations/{}", "An organisation that the key may see."),
}
Query = strawberry.type(type("Query", (), {**_QUERY, "__annotations__": {}, "__doc__": "What may be asked.", "__module__": __name__}))


def _value(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name)


class _Told(strawberry.Schema):
    """Refusals are told to who asked, and faults of ours are raised: nothing of a query's words, in which a number may be, is logged."""

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        pass


SCHEMA = _Told(
    query=Query, types=[Flag, Environment, Webhook, Caller, CloudEvent, Organisation, Agent, Number, Call],
    config=StrawberryConfig(default_resolver=_value, scalar_map=dict(SCALARS)),
)  # fmt: skip
