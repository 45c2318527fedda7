"""`/graphql`: one query of the schema, with the same key, scopes and walls as everything else, and within what one query may cost."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from graphql import GraphQLError, GraphQLSyntaxError, get_operation_ast, parse
from pydantic import Field

from api.auth import AnyCaller, Organisation
from api.graph.costs import TooCostly, must_be_affordable
from api.graph.queries import KnownQueries, QueryForbidden, QueryUnknown
from api.graph.schema import SCHEMA, Asked
from api.positions import Read
from api.problems import INVALID_REQUEST, TOLD, At, Problem
from api.trace import trace_of
from api.wire import POSITION, Wire, Wired, write_seen
from api.within import Asker
from projections.queries import Seen

MEDIA_TYPE = "application/graphql-response+json"
router = APIRouter(include_in_schema=False)
_MOST_TOKENS = 4_000
_LONGEST_QUERY = 20_000
Text = Annotated[str, Field(max_length=_LONGEST_QUERY)]


class PersistedQuery(Wire):
    version: int = 1
    sha256Hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # noqa: N815 - as the protocol spells it


class Extensions(Wire):
    persistedQuery: PersistedQuery | None = None  # noqa: N815 - as the protocol spells it


class GraphRequest(Wire):
    """A query, or the SHA-256 of one that is known, and what fills its variables."""

    query: Text | None = None
    operationName: Annotated[str, Field(max_length=200)] | None = None  # noqa: N815 - as the protocol spells it
    variables: dict[str, Any] | None = None
    extensions: Extensions | None = None


@router.post("/graphql")
async def query_graph(
    body: GraphRequest, who: AnyCaller, organisation: Organisation, ports: Wired, read: Read, response: Response, request: Request
) -> Response:
    """Answer a query. `min-position` and `as-of` in the address hold for all that it fetches."""
    known: KnownQueries | None = getattr(request.app.state, "graph_queries", None)
    if known is None:
        known = request.app.state.graph_queries = KnownQueries(ports.graph_queries)
    persisted = body.extensions.persistedQuery if body.extensions is not None else None
    try:
        text = known.text(body.query, persisted.sha256Hash if persisted is not None else None)
        document = parse(text, max_tokens=_MOST_TOKENS)
        if get_operation_ast(document, body.operationName) is None:
            return _refused("operationName names which operation of the query is meant", "query-invalid")
        must_be_affordable(document, body.operationName, body.variables or {})
    except QueryUnknown as cause:
        return _refused(str(cause), "PERSISTED_QUERY_NOT_FOUND", status=200)
    except QueryForbidden as cause:
        return _refused(str(cause), "query-not-listed", status=403)
    except TooCostly as cause:
        return _refused(str(cause), "query-too-costly")
    except GraphQLSyntaxError as cause:
        return _refused(cause.message, "query-unreadable")
    except ValueError as cause:
        raise Problem(INVALID_REQUEST, str(cause), errors=[At(pointer="#/query", detail=str(cause))]) from cause
    noted = Seen()
    asked = Asked(
        within=request.app.state.within, asker=Asker(who, trace_of(request.scope), noted), organisation=organisation, keyring=ports.keyring,
        as_of=None if read.past is None else request.query_params["as-of"],
    )  # fmt: skip
    async with asked.tasks:
        result = await SCHEMA.execute(text, variable_values=body.variables, context_value=asked, operation_name=body.operationName)
    errors = [_told(each) for each in result.errors or ()]
    if result.data is None and errors and all("path" not in each for each in errors):
        return _answer({"errors": errors}, 400)
    told = {name: response.headers[name] for name in TOLD if name in response.headers}
    if reach := str(noted):
        told[POSITION] = write_seen(reach, ports.clock())
    return _answer({"data": result.data, **({"errors": errors} if errors else {})}, 200, told)


@router.get("/graphql")
async def query_graph_by_address(
    who: AnyCaller, organisation: Organisation, ports: Wired, read: Read, response: Response, request: Request
) -> Response:
    """The same with everything in the address, as for a query that is known by its hash."""
    given = request.query_params
    try:
        body = GraphRequest.model_validate(
            {name: given.get(name) for name in ("query", "operationName")}
            | {name: json.loads(given.get(name, "null")) for name in ("variables", "extensions")}
        )
    except ValueError as cause:
        raise Problem(INVALID_REQUEST, "The address does not hold a query as documented.") from cause
    return await query_graph(body, who, organisation, ports, read, response, request)


def _told(error: GraphQLError) -> Mapping[str, Any]:
    """Raises what is our own fault."""
    original = error.original_error
    if original is not None and not isinstance(original, GraphQLError):
        raise original
    extensions = error.extensions or (original.extensions if original is not None else None) or {"code": "query-invalid"}
    return {**error.formatted, "extensions": extensions}


def _refused(detail: str, code: str, *, status: int = 400) -> Response:
    return _answer({"errors": [{"message": detail, "extensions": {"code": code}}]}, status)


def _answer(document: Mapping[str, Sequence[Any] | Any], status: int, told: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=told)
