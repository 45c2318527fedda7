"""Which pages of other sites may ask (CORS, https://fetch.spec.whatwg.org/#http-cors-protocol), and read what they are answered.

What a browser asks beforehand bears no key, so it is the installation that says whose pages these are, and no organisation. Nothing is
sent along by itself, for there are no cookies. A page reads answers to short-lived tokens: a key that stands in one is everybody's.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import Response

from api.auth import Caller

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_TAKEN = (
    "Authorization, Content-Type, Aybiza-Organisation, Aybiza-Version, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, "
    "Range, traceparent"
)
_TOLD = (
    "Aybiza-As-Of, Aybiza-Position, Aybiza-Trace-Id, Aybiza-Version, Content-Disposition, Deprecation, ETag, Location, RateLimit, "
    "RateLimit-Policy, Retry-After, Sunset, Warning, WWW-Authenticate"
)
_KEPT_SECONDS = 7200
_OF_TOKENS = ("person:", "oauth-client:")


def asked_beforehand(method: str, headers: Headers, allowed: Collection[str]) -> Response | None:
    """The answer to a browser's question whether a page may ask at all; None for any other request."""
    if not allowed or method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
        return None
    answer = Response(status_code=204, headers={"Vary": "Origin"})
    if headers["origin"] in allowed:
        answer.headers.update({
            "Access-Control-Allow-Origin": headers["origin"], "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _TAKEN, "Access-Control-Max-Age": str(_KEPT_SECONDS),
        })  # fmt: skip
    return answer


def read_by_page(origin: str | None, who: Caller | None, allowed: Collection[str]) -> dict[str, str]:
    """What an answer says for the page that asked: by nobody's token, as in signing in, or by a short-lived one."""
    if not allowed:
        return {}
    if origin not in allowed or (who is not None and not who.actor.startswith(_OF_TOKENS)):
        return {"Vary": "Origin"}
    return {"Vary": "Origin", "Access-Control-Allow-Origin": origin or "", "Access-Control-Expose-Headers": _TOLD}
