"""Routes of calls: what was said and heard, fact by fact, its recording, and what can be done in a call under way."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from api.auth import Organisation
from api.positions import Read
from api.preconditions import tag
from api.problems import NOT_FOUND, PRECONDITION_FAILED, READS_UNAVAILABLE, answers
from api.ranges import wanted_of
from api.sealing import CALLER, in_clear, opened
from api.shapes import Refers
from api.wire import Accepted, Cursor, Limit, Line, Page, Time, Wire, Wired, found, page_of, proper_id
from api.writing import Write
from commands.calls.deciding import CALLS
from commands.calls.orders import NoteListening, OrderHangUp, OrderHold, OrderHoldEnd, OrderRecordingStop, OrderTransfer
from commands.calls.refusals import CallNotAnswered, CallOver
from events.calls.ending import EndedBy, Stage
from events.calls.reasons import table
from events.calls.talking import Evidence
from events.recorded import Recorded
from events.registry import Fact, type_of
from events.sealing import KeyRing
from events.streams import StreamId
from projections import calls as rows

router = APIRouter(prefix="/calls", tags=["calls"])


class Call(Wire):
    """A call as it stands, or ended. Times in `_ms` are call time: 0 is the moment the media stream started."""

    id: Annotated[str, Refers("usage", "/v1/calls/{}/usage")]
    status: rows.CallStatus
    caller: str | None
    caller_id: Annotated[str, Refers("caller", "/v1/consents/{}")]
    number: Annotated[str | None, Refers("number", "/v1/numbers/{}")]
    agent_id: Annotated[str, Refers("agent", "/v1/agents/{}")]
    agent_version: str
    agent_version_hash: str
    flags: dict[str, str]
    environment: str
    received_at: Time
    answered_at: Time | None
    ended_at: Time | None
    recogniser: str | None
    model_provider: str | None
    voice: str | None
    embedded: bool | None
    disclosed_ms: int | None
    recording: rows.Recording
    recorded: bool
    turns: int
    interruptions: int
    failures: int
    facts_lost: int
    end_reason: Annotated[str | None, Field(description=f"Why it ended; a reason that is not here is an older program's.\n\n{table()}")]
    ended_by: EndedBy | None
    stage: Stage | None
    billable: bool | None
    duration_ms: int | None
    callback_promised: Annotated[bool, Field(description="The caller was told that somebody calls back.")]


class Latency(Wire):
    """When each stage of an answer was reached, call time."""

    speech_ended_ms: int | None
    turn_decided_ms: int | None
    recognised_ms: int | None
    first_token_ms: int | None
    first_byte_ms: int | None
    on_wire_ms: int | None


class Spent(Wire):
    """What an answer used. `elsewhere`: of the characters, those that a voice was given that stood in for the call's own, by its name."""

    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    characters: int
    estimated: bool
    elsewhere: Mapping[str, int] = Field(default_factory=dict)


class TimelineEntry(Wire):
    """One fact of a call; what a kind of fact does not have is null.

    `words` are what the caller said, what the agent generated, or what a tool was asked and answered; `heard` is what the caller heard.
    """

    kind: str
    version: int
    position: str
    occurred_at: Time
    actor: str
    turn: int | None
    at_ms: int | None
    ended_ms: int | None
    words: str | None
    heard: str | None
    evidence: Evidence | None
    interrupted: bool | None
    attempt: int | None
    confidence: float | None
    recognised_ms: int | None
    latency: Latency | None
    spent: Spent | None
    rule: str | None
    logical: str | None
    model: str | None
    tool: str | None
    tool_use_id: str | None
    idempotent: bool | None
    failed: bool | None
    filler: str | None
    engine: str | None
    consent_version: int | None
    reason: str | None
    ended_by: EndedBy | None
    stage: Stage | None
    count: int | None


class RecordedFact(Wire):
    """A fact as the log has it, personal fields opened (null when the person was erased)."""

    type: str
    version: int
    position: str
    event_id: str
    occurred_at: Time
    appended_at: Time
    actor: str
    command_id: str
    causation: str | None
    data: dict[str, Any]


class Reason(Wire):
    reason: Line = "ordered"


class Transfer(Wire):
    """`destination` is a name under `transfer.destinations` in the agent's configuration."""

    destination: Line
    reason: Line = "ordered"


CallId = Annotated[str, Path(description="`call_…`")]


@router.get("")
async def list_calls(
    organisation: Organisation,
    ports: Wired,
    read: Read,
    status: Annotated[rows.CallStatus | None, Query(description="Only calls that stand so.")] = None,
    callback_promised: Annotated[bool | None, Query(description="Only calls whose callers were told that we call back.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[Call]:
    """The organisation's calls, the newest first."""
    found_rows, after = await read.page(
        rows.CALLS, organisation, limit=limit, cursor=cursor, status=status, callback_promised=callback_promised
    )
    return page_of([_call(ports.keyring, row) for row in found_rows], after)


@router.get("/{call_id}", responses=answers(NOT_FOUND))
async def get_call(call_id: CallId, organisation: Organisation, ports: Wired, read: Read, response: Response) -> Call:
    """One call."""
    row = found(await read.row(rows.CALLS, _stream(organisation, call_id)), "call")
    tag(response, row.version)
    return _call(ports.keyring, row)


@router.get("/{call_id}/timeline", responses=answers(NOT_FOUND))
async def get_timeline(
    call_id: CallId,
    organisation: Organisation,
    ports: Wired,
    read: Read,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[TimelineEntry]:
    """What happened in a call, in order, with the words."""
    stream = _stream(organisation, call_id)
    found(await read.row(rows.CALLS, stream), "call")
    place = read.behind(cursor)
    entries, after = await read.entries(rows.CALL_TIMELINE, stream, after=place or 0, limit=limit)
    return page_of([_entry(ports.keyring, entry) for entry in entries], read.cursor(after))


@router.get("/{call_id}/events", responses=answers(NOT_FOUND))
async def get_events(
    call_id: CallId,
    organisation: Organisation,
    ports: Wired,
    read: Read,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[RecordedFact]:
    """The call's facts as they stand on the log, in order, each with its position."""
    stream = _stream(organisation, call_id)
    place = read.behind(cursor)
    facts, after = await read.facts(stream, after=place or 0, limit=limit)
    if not facts and place is None:
        found(None, "call")
    return page_of([_fact(ports.keyring, each) for each in facts], read.cursor(after))


_SOUND = {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}


@router.get(
    "/{call_id}/recording",
    response_class=Response,
    responses=answers(NOT_FOUND, READS_UNAVAILABLE)
    | {
        200: {"description": "The recording.", "content": _SOUND},
        206: {"description": "The range asked for.", "content": _SOUND},
        416: {"description": "The range lies beyond the recording's end."},
    },
)
async def get_recording(
    call_id: CallId,
    organisation: Organisation,
    ports: Wired,
    read: Read,
    write: Write,
    reason: Annotated[Line, Query(description="Why you listen. It stands on record, with your key's name.")] = "not-stated",
    byte_range: Annotated[str | None, Header(alias="Range", description="`bytes=first-last`, one range.", max_length=60)] = None,
) -> Response:
    """Stereo WAV over the whole call, caller left and agent right; digital silence where nobody had allowed to record.

    Listening is an act: that you did, and why, is on the log before the first byte is sent.
    """
    stream = _stream(organisation, call_id)
    found(await read.row(rows.CALLS, stream), "call")
    sound = found(await ports.recordings.sound(organisation, stream.id), "recording of this call")
    wanted = wanted_of(byte_range, sound.size)
    if wanted is None:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{sound.size}"})
    listening = write.intent.command_id("listening").hex()
    await write(CALLS, stream, NoteListening(listening=listening, by=write.who.actor, reason=reason))
    first, last = wanted
    headers = {
        "Content-Disposition": f'inline; filename="{stream.id}.wav"', "Accept-Ranges": "bytes", "Content-Length": str(last - first + 1),
        **({"Content-Range": f"bytes {first}-{last}/{sound.size}"} if byte_range else {}), **dict(write.response.headers),
    }  # fmt: skip
    return StreamingResponse(sound.read(first, last), 206 if byte_range else 200, headers, "audio/wav")


@router.post("/{call_id}/hangup", status_code=202, responses=answers(NOT_FOUND, CallOver, PRECONDITION_FAILED))
async def hang_up(call_id: CallId, organisation: Organisation, write: Write, body: Reason | None = None) -> Accepted:
    """Have the call ended; its worker hangs up as soon as it reads the fact."""
    committed = await write(CALLS, _stream(organisation, call_id), OrderHangUp(reason=(body or Reason()).reason))
    return Accepted(position=str(committed.position))


@router.post("/{call_id}/transfer", status_code=202, responses=answers(NOT_FOUND, CallNotAnswered, CallOver, PRECONDITION_FAILED))
async def transfer(call_id: CallId, organisation: Organisation, write: Write, body: Transfer) -> Accepted:
    """Have the caller put through to one of the agent's destinations, after a sentence. What becomes of it is in the timeline."""
    committed = await write(CALLS, _stream(organisation, call_id), OrderTransfer(destination=body.destination, reason=body.reason))
    return Accepted(position=str(committed.position))


@router.post("/{call_id}/hold", status_code=202, responses=answers(NOT_FOUND, CallNotAnswered, CallOver, PRECONDITION_FAILED))
async def hold(call_id: CallId, organisation: Organisation, write: Write, body: Reason | None = None) -> Accepted:
    """Have the caller wait on the line. Nobody answers what they say; it is kept and answered afterwards."""
    committed = await write(CALLS, _stream(organisation, call_id), OrderHold(reason=(body or Reason()).reason))
    return Accepted(position=str(committed.position))


@router.post("/{call_id}/hold/end", status_code=202, responses=answers(NOT_FOUND, CallNotAnswered, CallOver, PRECONDITION_FAILED))
async def end_hold(call_id: CallId, organisation: Organisation, write: Write, body: Reason | None = None) -> Accepted:
    """Have the agent go on with a caller who waits. Where nobody waits this changes nothing."""
    committed = await write(CALLS, _stream(organisation, call_id), OrderHoldEnd(reason=(body or Reason()).reason))
    return Accepted(position=str(committed.position))


@router.post("/{call_id}/recording/stop", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def stop_recording(call_id: CallId, organisation: Organisation, write: Write, body: Reason | None = None) -> Accepted:
    """Have the recording stopped. Where nothing is recorded this changes nothing."""
    committed = await write(CALLS, _stream(organisation, call_id), OrderRecordingStop(reason=(body or Reason()).reason))
    return Accepted(position=str(committed.position))


def _stream(organisation: str, call_id: str) -> StreamId:
    return StreamId(organisation, "calls", proper_id(call_id, "call_", "call"))


_SAME = [
    name for name in Call.model_fields if name in {field.name for field in dataclasses.fields(rows.Call)} - {"caller", "number", "flags"}
]


def _call(keyring: KeyRing, row: rows.Call) -> Call:
    return Call(
        **{name: getattr(row, name) for name in _SAME},
        caller=opened(keyring, row.caller),
        caller_id=CALLER + row.caller_ref,
        number=opened(keyring, row.number),
        flags=dict(row.flags),
        recorded=row.recording_object is not None,
    )


def _entry(keyring: KeyRing, entry: rows.TimelineEntry) -> TimelineEntry:
    return TimelineEntry.model_validate({name: in_clear(keyring, getattr(entry, name)) for name in TimelineEntry.model_fields})


def _fact(keyring: KeyRing, recorded: Recorded[Fact]) -> RecordedFact:
    return RecordedFact(
        type=type_of(recorded.fact).ce_type, version=recorded.version, position=str(recorded.position), event_id=str(recorded.event_id),
        occurred_at=recorded.occurred_at, appended_at=recorded.appended_at, actor=recorded.actor, command_id=recorded.command_id.hex(),
        causation=None if recorded.causation is None else str(recorded.causation), data=in_clear(keyring, recorded.fact),
    )  # fmt: skip
