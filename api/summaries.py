"""Routes of what became of calls in all: of an agent, of a number, of the organisation."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.agents import AgentId
from api.auth import Organisation
from api.numbers import PathNumber
from api.positions import Read
from api.problems import NOT_FOUND, answers
from api.sealing import e164
from api.shapes import Refers
from api.wire import Cursor, Limit, Page, Time, Wire, Wired, found, nothing, page_of, proper_id
from events.sealing import KeyRing
from events.streams import PLATFORM, StreamId
from projections.agents import AGENTS
from projections.numbers import NUMBERS
from projections.summaries import CALL_SUMMARIES, CallSummary

router = APIRouter()


class CallsSummed(Wire):
    """Calls from the first one on. Times are those of rings; a mean or a share is null where there is nothing that it would be of."""

    calls: int
    answered: Annotated[int, Field(description="Calls whose media stream started.")]
    ended: int
    answer_rate: float | None
    short: Annotated[int, Field(description="Answered calls that were over within six seconds: by their share carriers judge a number.")]
    short_share: float | None
    billable: int
    transferred: int
    callbacks_promised: int
    interruptions: int
    failures: int
    duration_ms: int
    duration_ms_mean: float | None
    longest_ms: int | None
    answers: Annotated[int, Field(description="Answers of the agent that have a response time.")]
    response_ms_mean: Annotated[float | None, Field(description="From the caller's last speech to our first frame.")]
    response_ms_largest: int | None
    first_call_at: Time | None
    last_call_at: Time | None


class CallsOfAgent(CallsSummed):
    """What became of the calls that an agent was to answer."""

    agent_id: Annotated[str, Refers("agent", "/v1/agents/{}")]


@router.get("/agents/{agent_id}/summary", tags=["agents"], responses=answers(NOT_FOUND))
async def get_agent_summary(agent_id: AgentId, organisation: Organisation, read: Read) -> CallsSummed:
    """What became of all the calls of an agent, whichever of its versions answered."""
    stream = StreamId(organisation, "agents", proper_id(agent_id, "agt_", "agent"))
    found(await read.row(AGENTS, stream), "agent")
    return _one(await read.combined(CALL_SUMMARIES, organisation, where={"agent_id": agent_id}))


@router.get("/numbers/{number}/summary", tags=["numbers"], responses=answers(NOT_FOUND))
async def get_number_summary(number: PathNumber, organisation: Organisation, ports: Wired, read: Read) -> CallsSummed:
    """What became of all the calls to a number while it was the organisation's: its answer rate, its share of short calls."""
    stream = _number(ports.keyring, number)
    found(await read.row(NUMBERS, stream, organisation=organisation), "number")
    return _one(await read.combined(CALL_SUMMARIES, organisation, where={"number_ref": stream.id}))


@router.get("/analytics/summary", tags=["analytics"])
async def get_summary(organisation: Organisation, read: Read) -> CallsSummed:
    """What became of all the organisation's calls."""
    return _one(await read.combined(CALL_SUMMARIES, organisation))


@router.get("/analytics/agents", tags=["analytics"])
async def list_agent_summaries(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[CallsOfAgent]:
    """The same of each agent that was called, in the order of their ids."""
    rows, after = await read.combined_page(CALL_SUMMARIES, organisation, by="agent_id", limit=limit, cursor=cursor)
    return page_of([CallsOfAgent.model_validate({"agent_id": row.agent_id, **_summed(row)}) for row in rows], after)


def _number(keyring: KeyRing, text: str) -> StreamId:
    try:
        return StreamId(PLATFORM, "numbers", keyring.reference(PLATFORM, e164(text)))
    except ValueError as cause:
        raise nothing("number") from cause


def _one(row: CallSummary | None) -> CallsSummed:
    return CallsSummed.model_validate(_summed(row or CallSummary(tenant="", agent_id="", number_ref="")))


def _summed(row: CallSummary) -> dict[str, object]:
    return {
        "calls": row.calls, "answered": row.answered, "ended": row.ended, "answer_rate": _share(row.answered, row.calls),
        "short": row.short, "short_share": _share(row.short, row.answered), "billable": row.billable, "transferred": row.transferred,
        "callbacks_promised": row.callbacks, "interruptions": row.interruptions, "failures": row.failures,
        "duration_ms": row.duration_ms, "duration_ms_mean": _mean(row.duration_ms, row.ended), "longest_ms": row.longest_ms,
        "answers": row.answers, "response_ms_mean": _mean(row.response_ms, row.answers), "response_ms_largest": row.slowest_ms,
        "first_call_at": row.first_call_at, "last_call_at": row.last_call_at,
    }  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _mean(total: int, of: int) -> float | None:
    return round(total / of, 1) if of else None
