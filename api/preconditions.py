"""`ETag` out and `If-Match` in: the version of a stream, so that nobody overwrites what they have not seen."""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Header, Response

from api.negotiating import tags_in
from api.problems import BAD_PRECONDITION, PRECONDITION_FAILED, At, Problem

ETAG = "ETag"
_OURS = re.compile(r'"(0|[1-9][0-9]{0,17})"')


def tag(response: Response, version: int) -> None:
    """Say at which version of its stream the answer stands."""
    response.headers[ETAG] = f'"{version}"'


IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", max_length=200, description="The `ETag` that was read, or several; 412 when the thing has changed since."),
]


def expected_versions(method: str, if_match: str | None, if_none_match: str | None) -> Sequence[int]:
    """The versions that the caller decided on, the newest first; none where any will do.

    Raises Problem, also for what would be a condition in vain.
    """
    if if_none_match is not None:
        at = [At(header="If-None-Match", detail='is for reads; `If-Match: "0"` is for what was never there')]
        raise Problem(BAD_PRECONDITION, BAD_PRECONDITION.meaning, errors=at)
    if if_match is None:
        return ()
    value = if_match.strip()
    if value == "*" and method != "PUT":
        # What makes nothing finds by itself that there is nothing.
        return ()
    tags = tags_in(value)
    if tags is None:
        raise Problem(BAD_PRECONDITION, BAD_PRECONDITION.meaning, errors=[At(header="If-Match", detail="is no list of entity tags")])
    # Weak tags, and those that we never gave, match nothing (RFC 9110, section 13.1.1).
    found = {int(ours[1]) for tag, weak in tags if not weak and (ours := _OURS.fullmatch(tag))}
    if not found:
        raise Problem(PRECONDITION_FAILED, f"{value} is no version that we gave.", errors=[At(header="If-Match", detail="matches nothing")])
    return sorted(found, reverse=True)
