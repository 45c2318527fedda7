"""The pages outside `/v1`: what is here, how the process is, and what each kind of problem means."""

import html
import json

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from api import openapi
from api.asyncapi import document
from api.openapi import Pages
from api.problems import KINDS, NOT_FOUND, Kind, Problem
from api.reference import reference
from api.wire import Wire, Wired

pages = APIRouter(include_in_schema=False)
router = APIRouter(tags=["health"])
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}}
code{{background:#f3f3f3;padding:.1em .3em}}</style></head><body>{body}</body></html>"""
_LINKS = (
    ("/docs", "the API, described for people"),
    ("/openapi.json", "the API, described for programs (OpenAPI 3.1)"),
    ("/asyncapi.json", "the events, described for programs (AsyncAPI 3)"),
    ("/problems", "every kind of problem that the API answers with"),
    ("/health", "how this process is"),
)


# The pages have a style and links, and nothing else: what else stood in one would not be ours.
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class Checked(Wire):
    """One thing that the process needs."""

    name: str
    ready: bool
    needed: bool
    why: str


class Health(Wire):
    """`live`: the process runs. `ready`: it can do its work; else `why` of the checks says what is in the way."""

    live: bool
    ready: bool
    checks: list[Checked]


@router.get("/health", responses={503: {"model": Health, "description": "Alive, and not ready."}})
async def health(ports: Wired, response: Response) -> Health:
    """How this process is: live, ready, and if not, why not."""
    checks = [Checked(name=each.name, ready=each.ready, needed=each.needed, why=each.why) for each in await ports.health()]
    ready = all(check.ready for check in checks if check.needed)
    response.status_code = 200 if ready else 503
    return Health(live=True, ready=ready, checks=checks)


@pages.get("/")
async def index(request: Request) -> Response:
    """What is here."""
    if "text/html" not in request.headers.get("accept", ""):
        return Response("AYBIZA\n" + "".join(f"  {path:<15} {what}\n" for path, what in _LINKS), media_type="text/plain")
    links = "".join(f'<li><a href="{path}"><code>{path}</code></a> {html.escape(what)}</li>' for path, what in _LINKS)
    return HTMLResponse(
        _PAGE.format(title="AYBIZA", body=f"<h1>AYBIZA</h1><p>AI voice agents on the phone.</p><ul>{links}</ul>"), headers=_SAFE
    )


@pages.get("/docs")
async def describe(request: Request) -> Response:
    """The reference."""
    pages: Pages = request.app.state.pages
    return HTMLResponse(await pages("docs", lambda: reference(request.app.openapi())), headers=_SAFE)


pages.get("/openapi.json")(openapi.read)


@pages.get("/asyncapi.json")
async def describe_events(request: Request) -> Response:
    """The events, and the ways by which they come."""
    pages: Pages = request.app.state.pages
    written = await pages("asyncapi", lambda: json.dumps(document(request.app.title, request.app.version), ensure_ascii=False))
    return Response(written, media_type="application/json")


@pages.get("/problems")
async def list_problems() -> Response:
    """Every kind of problem."""
    listed = "".join(
        f'<li><a href="/problems/{kind.code}"><code>{kind.code}</code></a> {kind.status}: {html.escape(kind.meaning)}</li>'
        for kind in sorted(KINDS.values(), key=lambda kind: kind.code)
    )
    return HTMLResponse(_PAGE.format(title="Problems", body=f"<h1>Problems</h1><ul>{listed}</ul>"), headers=_SAFE)


@pages.get("/problems/{code}")
async def explain_problem(code: str) -> Response:
    """What one kind of problem means: the page that `type` leads to."""
    kind: Kind | None = KINDS.get(code)
    if kind is None:
        raise Problem(NOT_FOUND, "There is no such kind of problem.")
    again = "The same request may succeed later." if kind.retryable else "The same request will have the same answer."
    title = html.escape(kind.title)
    body = f"<h1>{title}</h1><p><code>{kind.code}</code>, status {kind.status}</p><p>{html.escape(kind.meaning)}</p><p>{again}</p>"
    return HTMLResponse(_PAGE.format(title=title, body=body), headers=_SAFE)
