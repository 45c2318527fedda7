"""Routes of a call's turns: what the caller said and all that came of it, turn by turn, from the entries of the timeline."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from api.auth import Organisation
from api.calls import CallId, Latency, Spent
from api.positions import Read, Reading
from api.problems import NOT_FOUND, answers
from api.sealing import in_clear
from api.wire import Cursor, Limit, Page, Wire, Wired, found, page_of, proper_id
from events.calls.talking import Evidence
from events.streams import StreamId
from projections import calls as rows

router = APIRouter(prefix="/calls", tags=["calls"])
_AT_ONCE = 1_000
_LATE = "late-"


class Said(Wire):
    """Words of the caller; null once they were erased."""

    words: str | None
    at_ms: int | None
    ended_ms: int | None
    confidence: float | None


class Answer(Wire):
    """Words of the agent: `words` what it generated, `heard` what of them the caller heard."""

    words: str | None
    heard: str | None
    at_ms: int | None
    ended_ms: int | None
    evidence: Evidence | None
    interrupted: bool | None
    latency: Latency | None
    spent: Spent | None


class ToolUsed(Wire):
    """A tool that was asked, and what it answered; null while it has not."""

    tool: str | None
    asked: str | None
    answered: str | None
    at_ms: int | None
    answered_ms: int | None
    failed: bool | None


class Turn(Wire):
    """One turn. Times are call time; `version` is that of its last fact."""

    turn: Annotated[int, Field(description="Counted from 1; 0 is the greeting, which answers nobody.")]
    version: int
    said: list[Said]
    answers: list[Answer]
    tools: list[ToolUsed]
    models: list[str]
    interruptions: int
    failures: int


@router.get("/{call_id}/turns", responses=answers(NOT_FOUND))
async def list_turns(
    call_id: CallId, organisation: Organisation, ports: Wired, read: Read, limit: Limit = 100, cursor: Cursor = None
) -> Page[Turn]:  # fmt: skip
    """The turns of a call, in order: who said what, which tools were asked, how quickly it was answered."""
    stream = StreamId(organisation, "calls", proper_id(call_id, "call_", "call"))
    found(await read.row(rows.CALLS, stream), "call")
    place = read.behind(cursor)
    by_turn = await _by_turn(read, stream)
    numbers = sorted(number for number in by_turn if place is None or number > place)
    told = [_turn(number, [_clear(ports.keyring, each) for each in by_turn[number]]) for number in numbers[:limit]]
    return page_of(told, read.cursor(numbers[limit - 1] if len(numbers) > limit else None))


async def _by_turn(read: Reading, stream: StreamId) -> Mapping[int, list[rows.TimelineEntry]]:
    """All entries that are of a turn: one that was told late may stand anywhere behind it."""
    by_turn: dict[int, list[rows.TimelineEntry]] = {}
    after: int | None = 0
    while after is not None:
        entries, after = await read.entries(rows.CALL_TIMELINE, stream, after=after, limit=_AT_ONCE)
        for entry in entries:
            if entry.turn is not None:
                by_turn.setdefault(entry.turn, []).append(entry)
    return by_turn


def _clear(keyring: Any, entry: rows.TimelineEntry) -> dict[str, Any]:
    names = ("words", "heard", "latency", "spent", "at_ms", "ended_ms", "evidence", "interrupted", "confidence", "tool", "tool_use_id",
             "failed", "model", "version")  # fmt: skip
    return {"kind": entry.kind.removeprefix(_LATE), **{name: in_clear(keyring, getattr(entry, name)) for name in names}}


def _turn(number: int, entries: Sequence[Mapping[str, Any]]) -> Turn:
    def of(kind: str) -> list[Mapping[str, Any]]:
        return [each for each in entries if each["kind"] == kind]

    answered = {each["tool_use_id"]: each for each in of("tool-answered")}
    return Turn(
        turn=number,
        version=max(each["version"] for each in entries),
        said=[_some(Said, each) for each in of("caller-turn")],
        answers=[_some(Answer, each) for each in of("agent-turn")],
        tools=[_tool(asked, answered.get(asked["tool_use_id"])) for asked in of("tool-requested")],
        models=list(dict.fromkeys(each["model"] for each in of("model-chosen"))),
        interruptions=len(of("agent-interrupted")),
        failures=len(of("engine-failed")),
    )


def _some(model: type[Any], entry: Mapping[str, Any]) -> Any:
    return model.model_validate({name: entry[name] for name in model.model_fields})


def _tool(asked: Mapping[str, Any], answered: Mapping[str, Any] | None) -> ToolUsed:
    return ToolUsed(
        tool=asked["tool"], asked=asked["words"], at_ms=asked["at_ms"], answered=answered and answered["words"],
        answered_ms=answered and answered["at_ms"], failed=answered and answered["failed"],
    )  # fmt: skip
