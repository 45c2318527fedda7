"""Every no that the API says is a problem document (RFC 9457), made here; each code has a page of its own."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from api.ports import ExportsUnavailable, RecordingsUnavailable
from api.trace import trace_of
from commands.decider import CommandRefused, NotFound
from commands.dispatch import CommandIdReused, CommitInDoubt, CommitTooLarge, ExpectedVersionMismatch, LogUnavailable
from events.positions import InvalidPosition, Position, read_reach
from projections.queries import RowsUnavailable

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of problem. `code` is public and permanent; `meaning` is what its page says."""

    code: str
    status: int
    meaning: str
    retryable: bool = False

    @property
    def title(self) -> str:
        return self.code.replace("-", " ").capitalize()


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """What was wrong where: a JSON pointer into the body (RFC 6901, as a URI fragment), or a parameter or header by name."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None

    def wire(self) -> dict[str, str]:
        named = (("pointer", self.pointer), ("parameter", self.parameter), ("header", self.header), ("detail", self.detail))
        return {name: value for name, value in named if value is not None}


class Problem(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self, kind: Kind, detail: str, *, errors: Sequence[At] = (), headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        self.more = more


KINDS: dict[str, Kind] = {}
"""Every kind by its code; refusals of the rooms join when a route names them."""


def _kind(code: str, status: int, meaning: str, *, retryable: bool = False) -> Kind:
    return KINDS.setdefault(code, Kind(code=code, status=status, meaning=meaning, retryable=retryable))


UNAUTHENTICATED = _kind(
    "unauthenticated", 401, "No API key came with the request, or one that opens nothing. Send `Authorization: Bearer aybiza_…`."
)
OPERATOR_ONLY = _kind("operator-only", 403, "Only the platform's operator may do this; an organisation's key may not.")
SCOPE_MISSING = _kind(
    "scope-missing", 403, "The key or the role may not do this. Use one with the scope that `needed` names; `/v1/access/explain` says why."
)
PERSON_ONLY = _kind("person-only", 403, "Only a person who is signed in may do this, about themselves; a program may not.")
SCOPE_TOO_WIDE = _kind("scope-too-wide", 403, "Nobody gives more than they may themselves: not by a key, a program or a role.")
ORGANISATION_NEEDED = _kind(
    "organisation-needed",
    403,
    "The operator, and a person of several organisations, act for one at a time: name it in the header `Aybiza-Organisation`.",
)
NOT_FOUND = _kind("not-found", 404, "There is no such thing here, or it is not yours to see; the two are not told apart.")
METHOD_NOT_ALLOWED = _kind(
    "method-not-allowed", 405, "The address is right and the method is not; the header `Allow` lists those that are."
)
NOT_ACCEPTABLE = _kind("not-acceptable", 406, "`Accept` allows no media type in which this is answered; `application/json` is.")
UNSUPPORTED_MEDIA_TYPE = _kind("unsupported-media-type", 415, "The body is of no media type that is taken; `Accept` lists them.")
REQUEST_TIMEOUT = _kind("request-timeout", 408, "The body came too slowly. Send it again.", retryable=True)
PRECONDITION_FAILED = _kind(
    "precondition-failed",
    412,
    "The thing has changed since the version in `If-Match`. Read it again, decide anew, and send its present `ETag`.",
)
BODY_TOO_LARGE = _kind("body-too-large", 413, "The body has more bytes than we take.")
BODY_TOO_DEEP = _kind("body-too-deep", 422, "The body's arrays and objects lie deeper in each other than we take.")
INVALID_REQUEST = _kind("invalid-request", 422, "The request is not as documented; `errors` says what is wrong where.")
KEY_REUSED = _kind(
    "idempotency-key-reused",
    422,
    "The `Idempotency-Key` was used for this with another body or query. A new request needs a key of its own.",
)
TOO_LARGE = _kind("change-too-large", 422, "The change does not fit one record of the log. Send less at once.")
BAD_CURSOR = _kind("bad-cursor", 400, "The cursor is not one that we gave for this list. Begin at the first page.")
BAD_POSITION = _kind("bad-position", 400, "`min-position` is not a position that a write of ours returned for what is read here.")
BAD_AS_OF = _kind("bad-as-of", 400, "`as-of` takes a time that has passed, with its zone, or a position on the log that an answer had.")
BAD_EVENT_ID = _kind("bad-event-id", 400, "`Last-Event-ID` is not an id that our event stream gave. Take one as it is, or none.")
EVENT_ID_EXPIRED = _kind(
    "event-id-expired", 410, "The place that the event id stands for is kept no longer. Read what was missed as lists, and listen from now."
)
FILES_EXPIRED = _kind(
    "files-expired", 410, "The files were kept until the operation's `files_expire_at`, and are removed. Ask for the same export again."
)
BAD_PRECONDITION = _kind(
    "bad-precondition", 400,
    '`If-Match` takes versions as `ETag` gave them, such as `"7"`, `"0"` for what was never there. `If-None-Match` is for reads.',
)  # fmt: skip
BAD_REQUEST = _kind("bad-request", 400, "The request cannot be read.")
UNKNOWN_FIELD = _kind("unknown-field", 400, "`fields` names something that the answer does not have; `possible` lists what it has.")
UNKNOWN_EXPANSION = _kind("unknown-expansion", 400, "`expand` names something that nothing here refers to; `possible` lists what may be.")
UNKNOWN_VERSION = _kind("unknown-version", 400, "`Aybiza-Version` names no version of this API; `possible` lists those that there are.")
SIGN_IN_FAILED = _kind(
    "sign-in-failed", 401, "The address, the password or the code is wrong; which of them is not told, nor whether the address is known."
)
SECOND_FACTOR_NEEDED = _kind(
    "second-factor-needed", 401, "The password is right. Send it again with `code`: one of the generator's, or a recovery code."
)
SIGN_IN_UNAVAILABLE = _kind("sign-in-unavailable", 503, "Too many people are signing in at this moment. Try again.", retryable=True)
INVITATION_TOKEN = _kind("invitation-token", 404, "The token is that of no invitation that stands. Ask for another one.")
ROLE_UNKNOWN = _kind("role-unknown", 422, "There is no such role; `/v1/roles` lists those that there are.")
ROLE_IS_OURS = _kind("role-is-built-in", 409, "Every organisation has this role as it is. Define one under a name of your own.")
TOO_MANY = _kind(
    "too-many-requests", 429, "The key has used up its quota. `RateLimit` says how it stands; wait as long as `Retry-After` says.",
    retryable=True,
)  # fmt: skip
TOO_MANY_AT_ONCE = _kind(
    "too-many-at-once", 429, "Too many requests of this key are being answered already. Wait for some of them.", retryable=True
)
LOG_UNAVAILABLE = _kind("log-unavailable", 503, "The log cannot be written now; nothing was changed. Try again.", retryable=True)
IN_FLIGHT = _kind(
    "request-in-flight", 409, "A request with this `Idempotency-Key` is being dealt with still. Send it again for its answer.",
    retryable=True,
)  # fmt: skip
IN_DOUBT = _kind(
    "commit-in-doubt", 503, "No answer came in time: the change may have been made, or not. Send it again with the same `Idempotency-Key`.",
    retryable=True,
)  # fmt: skip
READS_UNAVAILABLE = _kind("reads-unavailable", 503, "What you asked for cannot be read now; writing goes on. Try again.", retryable=True)
INTERNAL = _kind("internal-error", 500, "The fault is ours. Tell us the trace id.")

_REFUSED: dict[type[CommandRefused], Kind] = {}


def kind_of(refusal: type[CommandRefused], *, at_fault: bool = False) -> Kind:
    """The kind of a room's refusal: 404 where the thing is not there, 422 where the body is `at_fault`, else 409. The first word counts."""
    known = _REFUSED.get(refusal)
    if known is None:
        status = 404 if issubclass(refusal, NotFound) else 422 if at_fault else 409
        known = _REFUSED[refusal] = _kind(refusal.code, status, (refusal.__doc__ or "").strip())
    return known


def answers(*problems: Kind | type[CommandRefused]) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI entry says of the problems that it may answer."""
    by_status: dict[int | str, list[Kind]] = {}
    for problem in problems:
        kind = problem if isinstance(problem, Kind) else kind_of(problem)
        by_status.setdefault(kind.status, []).append(kind)
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": " ".join(f"`{kind.code}`: {kind.meaning}" for kind in kinds), "content": schema}
        for status, kinds in by_status.items()
    }


def render(request_path: str, trace_id: str, problem: Problem) -> Response:
    """The document, with its headers."""
    kind = problem.kind
    document: dict[str, Any] = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": quote(request_path),
        "code": kind.code,
        "retryable": kind.retryable,
        "trace_id": trace_id,
        **problem.more,
    }
    if problem.errors:
        document["errors"] = [error.wire() for error in problem.errors]
    return JSONResponse(document, status_code=kind.status, headers=problem.headers, media_type=MEDIA_TYPE)


def pointer_of(parts: Iterable[str | int]) -> str:
    """A JSON pointer in its URI fragment form."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def of_refusal(refusal: CommandRefused) -> Problem:
    found: Sequence[tuple[str, str]] = getattr(refusal, "errors", ())
    return Problem(
        kind_of(type(refusal)), str(refusal), errors=[At(pointer=_as_fragment(pointer), detail=detail) for pointer, detail in found]
    )


def _as_fragment(pointer: str) -> str:
    return pointer if pointer.startswith("#") else f"#{pointer}"


def of_validation(error: RequestValidationError) -> Problem:
    errors = [_at(entry) for entry in error.errors()]
    return Problem(INVALID_REQUEST, "; ".join(dict.fromkeys(entry.detail for entry in errors)), errors=errors)


def _at(entry: Mapping[str, Any]) -> At:
    where, *parts = entry["loc"] or ("body",)
    detail = str(entry["msg"]).removeprefix("Value error, ")
    if entry["type"] == "json_invalid":
        return At(pointer="#", detail=f"not JSON: {entry['ctx']['error']} at byte {parts[0]}")
    if where == "body":
        return At(pointer=pointer_of(parts), detail=detail)
    name = str(parts[0]) if parts else ""
    return At(header=name, detail=detail) if where == "header" else At(parameter=name, detail=detail)


def of_log(error: LogUnavailable | CommitInDoubt | CommandIdReused | CommitTooLarge | ExpectedVersionMismatch) -> Problem:
    match error:
        case LogUnavailable(retry_after_ms=wait):
            return Problem(LOG_UNAVAILABLE, str(error), headers={"Retry-After": str(max(1, math.ceil(wait / 1000)))})
        case CommitInDoubt():
            return Problem(IN_DOUBT, IN_DOUBT.meaning, headers={"Retry-After": "1"})
        case CommandIdReused():
            return Problem(
                KEY_REUSED, KEY_REUSED.meaning, errors=[At(header="Idempotency-Key", detail="was used with another body or path")]
            )
        case CommitTooLarge():
            return Problem(TOO_LARGE, TOO_LARGE.meaning)
        case ExpectedVersionMismatch(expected=expected, found=found):
            return Problem(PRECONDITION_FAILED, str(error), headers={"ETag": f'"{found}"'}, expected=expected, found=found)


def unavailable(error: RowsUnavailable | RecordingsUnavailable | ExportsUnavailable) -> Problem:
    return Problem(READS_UNAVAILABLE, str(error) or READS_UNAVAILABLE.meaning, headers={"Retry-After": "1"})


def _positions_of(request: Request) -> Mapping[str, str]:
    with suppress(InvalidPosition):
        given = request.query_params.getlist("min-position")
        wanted = ", ".join(text if "@" in text and read_reach(text.rpartition("@")[0]) else str(Position.parse(text)) for text in given)
        return {"Aybiza-Position": wanted} if wanted.isascii() and wanted.isprintable() and wanted else {}
    return {}


TOLD = ("Warning", "Aybiza-As-Of", "Aybiza-Position")
"""Headers that say of which time an answer is."""
_BY_STATUS = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED, 413: BODY_TOO_LARGE, 422: INVALID_REQUEST}


def of_http(error: HTTPException) -> Problem:
    kind = _BY_STATUS.get(error.status_code, BAD_REQUEST if error.status_code < 500 else INTERNAL)
    plain = error.detail == HTTPStatus(error.status_code).phrase
    return Problem(kind, kind.meaning if plain else str(error.detail), headers=error.headers)


def install(app: FastAPI, methods_at: Callable[[str], Iterable[str]]) -> None:
    """Have every exception that a request may end with answered as a problem document. `methods_at`: those that an address has."""

    def answering(kind: type[Exception], translate: Any) -> None:
        async def answer(request: Request, error: Exception) -> Response:
            problem: Problem = translate(error)
            if problem.kind is METHOD_NOT_ALLOWED:
                # The framework names the methods of one route; an address may have several.
                problem.headers["Allow"] = ", ".join(sorted(methods_at(request.scope["path"])))
            if problem.kind is READS_UNAVAILABLE:
                # What the caller wants to see is given back, to be asked for again.
                problem.headers.update(_positions_of(request))
            # How old the answer is holds for one that says that there is nothing, too.
            told = request.scope.get("state", {}).get("told", {})
            problem.headers.update({name: told[name] for name in TOLD if name in told and name not in problem.headers})
            return render(request.scope["path"], trace_of(request.scope).trace_id.hex(), problem)

        app.add_exception_handler(kind, answer)

    answering(Problem, lambda problem: problem)
    answering(CommandRefused, of_refusal)
    answering(RequestValidationError, of_validation)
    answering(HTTPException, of_http)
    for kind in (LogUnavailable, CommitInDoubt, CommandIdReused, CommitTooLarge, ExpectedVersionMismatch):
        answering(kind, of_log)
    answering(RowsUnavailable, unavailable)
    answering(RecordingsUnavailable, unavailable)
    answering(ExportsUnavailable, unavailable)
    # The framework logs the exception and raises it again for the root to see, after this answer has gone out.
    answering(Exception, lambda _: Problem(INTERNAL, INTERNAL.meaning))
