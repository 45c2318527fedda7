"""What a request says of the answer that it takes: without a body, only of a newer version, in which media types; and of its own body."""

import re

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from api.problems import NOT_ACCEPTABLE, UNSUPPORTED_MEDIA_TYPE, At, Problem

HEAD = "HEAD"
_TAG = re.compile(r'\s*(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*"))?\s*(?:,|\Z)')
_TAKEN = ("application/json", "application/merge-patch+json")
_WITH_BODIES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = "application/json"


def without_body(send: Send) -> Send:
    """For `HEAD`: what a read is answered with, but for its body. One that goes on is not waited for: more raises ClientDisconnect."""
    over = False

    async def head(message: Message) -> None:
        nonlocal over
        if over:
            raise ClientDisconnect
        if message["type"] == "http.response.body":
            over = True
            message = {"type": "http.response.body", "body": b""}
        await send(message)

    return head


def tags_in(text: str) -> list[tuple[str, bool]] | None:
    """The entity tags of a list, each with whether it is weak; None for what is no list of any (RFC 9110, section 8.8.3)."""
    found, at = [], 0
    while at < len(text):
        part = _TAG.match(text, at)
        if part is None:
            return None
        if part[2] is not None:
            found.append((part[2], part[1] is not None))
        at = part.end()
    return found or None


def is_known(if_none_match: str, tag: str) -> bool:
    """Whether the asker has what bears this tag (RFC 9110, section 13.1.2: weak tags are as good as strong ones here)."""
    if if_none_match.strip() == "*":
        return True
    return any(each == tag.removeprefix("W/") for each, _ in tags_in(if_none_match) or ())


def must_be_json(method: str, headers: Headers) -> None:
    """Raises Problem for a body that says itself that it is none."""
    said = headers.get("content-type")
    if said is None or method not in _WITH_BODIES or (headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers):
        return
    kind = said.partition(";")[0].strip().lower()
    if kind != _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
        at = [At(header="Content-Type", detail=f"is none of {', '.join(_TAKEN)}")]
        raise Problem(UNSUPPORTED_MEDIA_TYPE, UNSUPPORTED_MEDIA_TYPE.meaning, errors=at, headers={"Accept": ", ".join(_TAKEN)})


def must_be_acceptable(headers: Headers, *media_types: str) -> None:
    """Raises Problem where a request takes no answer of any of the media types. Who says nothing takes all."""
    accept = ",".join(headers.getlist("accept"))
    if accept in ("", "*/*", *media_types) or any(_weight(accept, each) > 0 for each in media_types):
        return
    raise Problem(NOT_ACCEPTABLE, NOT_ACCEPTABLE.meaning, errors=[At(header="Accept", detail=f"allows no {media_types[0]}")])


def _weight(accept: str, media_type: str) -> float:
    """That of the range which says most of the media type (RFC 9110, section 12.5.1); 0 where none does."""
    kind = media_type.partition("/")[0]
    ranges = {"*/*": 1, f"{kind}/*": 2, media_type: 3}
    closest, weight = 0, 0.0
    for part in accept.split(","):
        named, *parameters = (each.strip().lower() for each in part.split(";"))
        said = ranges.get(named, 0)
        if said > closest:
            closest, weight = said, _quality(parameters)
    return weight


def _quality(parameters: list[str]) -> float:
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
