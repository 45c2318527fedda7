"""`ETag` out and `If-Match` in: the version of a stream, so that nobody overwrites what they have not seen."""

import re
from typing import Annotated

from fastapi import Header, Response

from api.problems import BAD_PRECONDITION, PRECONDITION_FAILED, At, Problem

ETAG = "ETag"
_STRONG = re.compile(r'"(0|[1-9][0-9]{0,17})"\Z')
_OTHER = re.compile(r'(W/)?"[\x21\x23-\x7e]*"\Z')


def tag(response: Response, version: int) -> None:
    """Say at which version of its stream the answer stands."""
    response.headers[ETAG] = f'"{version}"'


IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, description="The `ETag` that was read; 412 when the thing has changed since."),
]


def expected_version(method: str, if_match: str | None, if_none_match: str | None) -> int | None:
    """The version that the caller decided on; None where any will do. Raises Problem, also for what would be a condition in vain."""
    if if_none_match is not None:
        at = [At(header="If-None-Match", detail='is not taken; `If-Match: "0"` is for what was never there')]
        raise Problem(BAD_PRECONDITION, BAD_PRECONDITION.meaning, errors=at)
    if if_match is None:
        return None
    value = if_match.strip()
    if value == "*" and method != "PUT":
        # What makes nothing finds by itself that there is nothing.
        return None
    if strong := _STRONG.match(value):
        return int(strong[1])
    if _OTHER.match(value):
        # Weak tags, and those that we never gave, match nothing (RFC 9110, section 13.1.1).
        raise Problem(PRECONDITION_FAILED, f"{value} is no version that we gave.", errors=[At(header="If-Match", detail="matches nothing")])
    raise Problem(BAD_PRECONDITION, BAD_PRECONDITION.meaning, errors=[At(header="If-Match", detail="is not one entity tag")])
