"""Routes of events: what happens, as it happens, as server-sent events that go on exactly where a program was; and one by its id."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from api.auth import AnyCaller, Organisation, still_opens
from api.cloudevents import CloudEvent, as_json, cloud_event
from api.ports import Ports
from api.positions import Read
from api.problems import BAD_EVENT_ID, EVENT_ID_EXPIRED, NOT_FOUND, READS_UNAVAILABLE, At, Problem, answers
from api.wire import Wired, found
from events.positions import InvalidPosition
from events.recorded import EventId
from events.registry import type_of
from projections.feed import Feed, Heard, chosen
from projections.feed_names import Resume, Vectors, VectorsAway, resume_at

router = APIRouter(prefix="/events", tags=["events"])
_BEAT_SECONDS = 15.0
_BEAT = b": beat\n\n"
_TYPE = r"^[a-z0-9-]{1,80}(\.v[0-9]{1,4})?$"

Types = Annotated[
    list[Annotated[str, Query(pattern=_TYPE)]] | None,
    Query(max_length=50, description="Only these, such as `call-ended` or `consent-granted.v1`. None: all."),
]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=20_000, description="The `id` of the last event that was dealt with.")
]
After = Annotated[str | None, Query(max_length=20_000, description="As `Last-Event-ID`, which goes first.")]
WaitSeconds = Annotated[
    int | None, Query(ge=0, le=86_400, description="End the stream when nothing came for so long. Left out: it goes on.")
]


class EventStream(StreamingResponse):
    """Server-sent events. Who takes nothing of them is cut off by the web server, and goes on from where it was on a new connection."""

    media_type = "text/event-stream"


@router.get(
    "",
    response_class=EventStream,
    responses=answers(BAD_EVENT_ID, EVENT_ID_EXPIRED, READS_UNAVAILABLE)
    | {200: {"description": "CloudEvents 1.0 in JSON, one a message.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def follow_events(
    who: AnyCaller, organisation: Organisation, ports: Wired, types: Types = None, last_event_id: LastEventId = None, after: After = None,
    wait_seconds: WaitSeconds = None,
) -> EventStream:  # fmt: skip
    """The organisation's facts from now on, or from behind an event: none twice, none left out, in order within each stream."""
    feed = ports.feed
    if feed.full(organisation):
        raise Problem(READS_UNAVAILABLE, "Nobody more can listen here now.", headers={"Retry-After": "5"})
    at = await resumed(feed.vectors, last_event_id or after)
    told = _told(ports, feed, organisation, at, chosen(types or ()), wait_seconds, lambda: still_opens(ports, who))
    return EventStream(told, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


@router.get("/{event_id}", response_model=CloudEvent, responses=answers(NOT_FOUND))
async def get_event(
    event_id: Annotated[
        str,
        Path(
            max_length=100, examples=["0192f3c87b6a4d10a2c5000000000017-0"],
            description="As events say it, and webhooks in `webhook-id`; in any spelling.",
        ),
    ],
    organisation: Organisation, ports: Wired, read: Read, response: Response,
) -> Response:  # fmt: skip
    """One fact, in the envelope in which it was told. What was sealed of a person who was erased is null."""
    named = EventId.read(event_id)
    fact = found(None if named is None else await read.event(organisation, named), "event")
    # The very bytes that listeners get.
    return Response(as_json(cloud_event(ports.keyring, fact)), media_type="application/json", headers=dict(response.headers))


async def _told(
    ports: Ports, feed: Feed, organisation: str, at: Resume | None, wanted: Callable[[str], bool], wait_seconds: int | None,
    opens: Callable[[], bool],
) -> AsyncGenerator[bytes, None]:  # fmt: skip
    beat_seconds = _BEAT_SECONDS if wait_seconds is None else min(wait_seconds, _BEAT_SECONDS)
    quiet = 0.0
    yield b"retry: 2000\n\n"
    async with aclosing(feed.follow(organisation, at, beat_seconds=beat_seconds)) as facts:
        async for fact in facts:
            if not opens():
                return
            if fact is None:
                quiet += beat_seconds
                if wait_seconds is not None and quiet >= wait_seconds:
                    return
                yield _BEAT
            else:
                quiet = 0.0
                if wanted(type_of(fact.recorded.fact).ce_type):
                    yield _message(ports, fact)


def _message(ports: Ports, fact: Heard) -> bytes:
    if fact.shown is None:
        event = as_json(cloud_event(ports.keyring, fact.recorded))
        fact.shown = b"".join(
            (b"id: ", fact.name.encode(), b"\nevent: ", type_of(fact.recorded.fact).ce_type.encode(), b"\ndata: ", event, b"\n\n")
        )
    return fact.shown


async def resumed(vectors: Vectors, name: str | None) -> Resume | None:
    if not name:
        return None
    try:
        at = await resume_at(name, vectors)
    except InvalidPosition as cause:
        raise Problem(BAD_EVENT_ID, BAD_EVENT_ID.meaning, errors=[At(header="Last-Event-ID", detail="is none of ours")]) from cause
    except VectorsAway as cause:
        raise Problem(READS_UNAVAILABLE, str(cause), headers={"Retry-After": "1"}) from cause
    if at is None:
        raise Problem(EVENT_ID_EXPIRED, EVENT_ID_EXPIRED.meaning)
    return at
