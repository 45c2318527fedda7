"""One call as it goes on, over a WebSocket: its facts as CloudEvents from its beginning or from behind one, then live, until it ends.

It closes with 1000 when the call has ended, 1008 when the key opens no more, 1012 when this process stops, 1013 when reading is
interrupted, and 4008 when the client takes its messages too slowly. Connected again with `after`, a client goes on where it was.
What is heard in a call is not to be had here: listening to a recording is an act of its own, which the log keeps.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import NamedTuple

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.auth import Caller, still_opens
from api.cloudevents import as_json, cloud_event
from api.ports import Ports
from api.problems import (
    BAD_POSITION,
    INVALID_REQUEST,
    ORGANISATION_NEEDED,
    READS_UNAVAILABLE,
    At,
    Kind,
    Problem,
    render,
    unavailable,
)
from api.trace import trace_of
from api.wire import found, proper_id
from commands.ports import HistoryLost, LogAway
from events.calls.ending import CallEnded
from events.positions import Cursor, InvalidPosition, Position
from events.recorded import Recorded
from events.registry import Fact
from events.streams import StreamId
from projections import calls as rows
from projections.feed import FeedFull
from projections.feed_names import Resume
from projections.queries import RowsUnavailable

router = APIRouter(prefix="/calls")
SUBPROTOCOL = "cloudevents.json"
_PAGE = 200
_MOST_WAITING = 256
_BEAT_SECONDS = 2.0
_SEND_SECONDS = 15.0
_GOODBYE_SECONDS = 30.0


class Close(NamedTuple):
    code: int
    reason: str


ENDED = Close(1000, "call-ended")
KEY_CLOSED = Close(1008, "key-opens-nothing")
STOPPING = Close(1012, "process-stops")
INTERRUPTED = Close(1013, "try-again-later")
TOO_SLOW = Close(4008, "too-slow")
CLOSES = (ENDED, KEY_CLOSED, STOPPING, INTERRUPTED, TOO_SLOW)


class _Behind(NamedTuple):
    """Behind which fact to begin: one's version, or what lies at or before an offset of a topic's partition."""

    version: int = 0
    offset: int = -1
    place: tuple[str, int] | None = None


class _Listening(NamedTuple):
    socket: WebSocket
    ports: Ports
    who: Caller
    stream: StreamId
    behind: _Behind
    start: Cursor


@router.websocket("/{call_id}/live")
async def follow_call(socket: WebSocket, call_id: str) -> None:
    """A call's facts, as they come. What is wrong with the request is answered as a problem document, instead of the socket."""
    try:
        listening = await _asked(socket, call_id)
    except Problem as problem:
        await socket.send_denial_response(render(socket.scope["path"], trace_of(socket.scope).trace_id.hex(), problem))
        return
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    try:
        close = await _told(listening)
        if close is not None:
            # A client that is slow hears of it once it has read what lies before.
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await socket.close(*close)
    except (TimeoutError, WebSocketDisconnect):
        return


async def _asked(socket: WebSocket, call_id: str) -> _Listening:
    """Raises Problem."""
    ports: Ports = socket.app.state.ports
    who: Caller = socket.scope["state"]["caller"]
    if who.organisation_id is None:
        raise Problem(ORGANISATION_NEEDED, ORGANISATION_NEEDED.meaning)
    stream = StreamId(who.organisation_id, "calls", proper_id(call_id, "call_", "call"))
    behind = _behind(socket.query_params)
    if ports.feed.full(stream.tenant):
        raise Problem(READS_UNAVAILABLE, "Nobody more can listen here now.", headers={"Retry-After": "5"})
    try:
        found(await ports.rows.get(rows.CALLS, stream.tenant, stream.id), "call")
        if behind.place is not None:
            first = await ports.journal.stream_events(stream, limit=1)
            if first and behind.place != (first[0].position.topic, first[0].position.partition):
                raise _none(BAD_POSITION)
        # What the journal is read for afterwards is at least as new as this place: from here on nothing is missed.
        start = Cursor(await ports.rows.progress())
    except RowsUnavailable as cause:
        raise unavailable(cause) from cause
    return _Listening(socket, ports, who, stream, behind, start)


def _behind(asked: Mapping[str, str]) -> _Behind:
    after = asked.get("after", "0")
    if after.isascii() and after.isdigit() and len(after) < 10:
        return _Behind(version=int(after))
    try:
        position = Position.parse(after[:300])
    except InvalidPosition as cause:
        raise _none(BAD_POSITION if "/" in after else INVALID_REQUEST) from cause
    return _Behind(offset=position.offset, place=(position.topic, position.partition))


def _none(kind: Kind) -> Problem:
    detail = "is neither the version nor the position of an event of this call"
    return Problem(kind, f"`after` {detail}.", errors=[At(parameter="after", detail=detail)])


async def _told(listening: _Listening) -> Close | None:
    """How it ends; None where the client went away."""
    waiting: asyncio.Queue[Recorded[Fact]] = asyncio.Queue(_MOST_WAITING)
    close: Close | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            gone = tasks.create_task(_gone(listening.socket), name="wait for the client to leave")
            telling = tasks.create_task(_tell(listening, waiting, tasks), name="tell of a call")
            done, _ = await asyncio.wait([gone, telling], return_when=asyncio.FIRST_COMPLETED)
            for task in (gone, telling):
                task.cancel()
            if telling in done:
                close = telling.result()
    except* (LogAway, HistoryLost, RowsUnavailable, FeedFull):
        close = INTERRUPTED
    except* WebSocketDisconnect:
        close = None
    return close


async def _gone(socket: WebSocket) -> None:
    """What a client says is passed over; its leaving is not."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _tell(listening: _Listening, waiting: "asyncio.Queue[Recorded[Fact]]", tasks: asyncio.TaskGroup) -> Close:
    try:
        last, ended = await _told_of_the_past(listening)
    except TimeoutError:
        return TOO_SLOW
    if ended:
        return ENDED
    listens = tasks.create_task(_listen(listening, last, waiting), name="listen to a call")
    says = tasks.create_task(_say_as_it_comes(listening, waiting), name="say what a call does")
    try:
        done, _ = await asyncio.wait([listens, says], return_when=asyncio.FIRST_COMPLETED)
        return says.result() if says in done else listens.result()
    finally:
        for task in (listens, says):
            task.cancel()


async def _told_of_the_past(listening: _Listening) -> tuple[int, bool]:
    """Up to which version, and whether the call has ended. Raises TimeoutError for a client that does not read."""
    version, ended = listening.behind.version, False
    while True:
        facts = await listening.ports.journal.stream_events(listening.stream, after_version=version, limit=_PAGE)
        for fact in facts:
            if fact.position.offset > listening.behind.offset:
                async with asyncio.timeout(_SEND_SECONDS):
                    await _say(listening, fact)
            ended = ended or isinstance(fact.fact, CallEnded)
            version = fact.version
        if len(facts) < _PAGE:
            return version, ended


async def _listen(listening: _Listening, last: int, waiting: "asyncio.Queue[Recorded[Fact]]") -> Close:
    feed, stream = listening.ports.feed, listening.stream
    async with aclosing(feed.follow(stream.tenant, Resume(listening.start, {}), beat_seconds=_BEAT_SECONDS)) as facts:
        async for fact in facts:
            if not still_opens(listening.ports, listening.who):
                return KEY_CLOSED
            if fact is None or fact.recorded.stream != stream or fact.recorded.version <= last:
                continue
            if waiting.full():
                return TOO_SLOW
            waiting.put_nowait(fact.recorded)
    return STOPPING


async def _say_as_it_comes(listening: _Listening, waiting: "asyncio.Queue[Recorded[Fact]]") -> Close:
    while True:
        fact = await waiting.get()
        await _say(listening, fact)
        if isinstance(fact.fact, CallEnded):
            return ENDED


async def _say(listening: _Listening, fact: Recorded[Fact]) -> None:
    await listening.socket.send_text(as_json(cloud_event(listening.ports.keyring, fact)).decode())
