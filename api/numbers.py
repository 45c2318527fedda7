"""Routes of phone numbers: which agent answers which."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import Field

from api.auth import Organisation
from api.positions import Read
from api.preconditions import tag
from api.problems import INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, At, Problem, answers
from api.sealing import PhoneNumber, e164, opened, seal_number
from api.shapes import Refers
from api.wire import Accepted, Cursor, Limit, Page, Time, Wire, Wired, found, nothing, page_of, proper_id
from api.writing import Write
from commands.agents import AGENTS, ConfirmAgent
from commands.decider import NotFound
from commands.environments import ENVIRONMENTS, ConfirmEnvironment
from commands.numbers import NUMBERS, AssignNumber, ChangeNumber, HoldNumber, NumberNotHeld, NumberTaken, ReleaseNumber
from events.sealing import KeyRing
from events.streams import PLATFORM, StreamId
from projections import numbers as rows

router = APIRouter(prefix="/numbers", tags=["numbers"])
Environment = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,99}$")]


class NewNumber(Wire):
    """`environment`: where it is looked up which version of the agent answers; null: the live one."""

    number: PhoneNumber
    agent_id: str
    environment: Environment | None = None


class NumberChanges(Wire):
    """A merge patch: what is left out stays as it is; null takes the environment away."""

    agent_id: str = ""
    environment: Environment | None = None


class Number(Wire):
    """A number and the agent that answers it."""

    number: str | None
    agent_id: Annotated[str, Refers("agent", "/v1/agents/{}")]
    assigned_at: Time
    environment: Annotated[
        str | None, Refers("environment", "/v1/environments/{}"),
        Field(description="Where it is looked up which version answers; null: the live one."),
    ]  # fmt: skip


class NewHold(Wire):
    seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 3_600


class Hold(Wire):
    """A number that is kept; a longer hold of the organisation's own may stand already."""

    number: str
    until: Time


PathNumber = Annotated[str, Path(description="E.164, such as `+14155550123`.")]


@router.post("", status_code=201, responses=answers(NumberTaken, PRECONDITION_FAILED, INVALID_REQUEST))
async def assign_number(body: NewNumber, organisation: Organisation, ports: Wired, write: Write) -> Number:
    """Have an agent answer a number. A number that the organisation holds already gets the new agent."""
    agent = await _confirmed(write, organisation, body.agent_id, body.environment)
    number = seal_number(ports.keyring, organisation, body.number)
    command = AssignNumber(organisation_id=organisation, agent_id=agent, number=number, at=write.now, environment=body.environment or "")
    stream = _stream(ports.keyring, body.number)
    committed = await write(NUMBERS, stream, command)
    write.created_at(f"/v1/numbers/{body.number}")
    at = await write.first_at(stream, committed)
    return Number(number=body.number, agent_id=agent, assigned_at=at, environment=body.environment)


@router.get("")
async def list_numbers(organisation: Organisation, ports: Wired, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Number]:
    """The organisation's numbers."""
    found_rows, after = await read.page(rows.NUMBERS, organisation, limit=limit, cursor=cursor)
    return page_of([_view(ports.keyring, row) for row in found_rows], after)


@router.get("/{number}", responses=answers(NOT_FOUND))
async def get_number(number: PathNumber, organisation: Organisation, ports: Wired, read: Read, response: Response) -> Number:
    """One number."""
    row = found(await read.row(rows.NUMBERS, _stream(ports.keyring, _given(number)), organisation=organisation), "number")
    tag(response, row.version)
    return _view(ports.keyring, row)


@router.patch("/{number}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED, INVALID_REQUEST))
async def change_number(number: PathNumber, body: NumberChanges, organisation: Organisation, ports: Wired, write: Write) -> Accepted:
    """Have another agent answer a number, or in another environment."""
    given, asked = _given(number), body.model_fields_set
    agent = body.agent_id if "agent_id" in asked else None
    environment = (body.environment or "") if "environment" in asked else None
    await _confirmed(write, organisation, agent, environment)
    sealed = seal_number(ports.keyring, organisation, given)
    command = ChangeNumber(organisation_id=organisation, number=sealed, agent_id=agent, environment=environment)
    try:
        committed = await write(NUMBERS, _stream(ports.keyring, given), command)
    except NumberNotHeld as cause:
        raise nothing("number") from cause
    return Accepted(position=str(committed.position))


@router.post("/{number}/hold", responses=answers(NOT_FOUND, NumberTaken, PRECONDITION_FAILED))
async def hold_number(number: PathNumber, body: NewHold, organisation: Organisation, ports: Wired, write: Write) -> Hold:
    """Keep a number for the organisation for a while, before an agent answers it. Nobody else can take it meanwhile."""
    given = _given(number)
    until = write.now + timedelta(seconds=body.seconds)
    await write(NUMBERS, _stream(ports.keyring, given), HoldNumber(organisation_id=organisation, at=write.now, until=until))
    return Hold(number=given, until=until)


@router.delete("/{number}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def release_number(number: PathNumber, organisation: Organisation, ports: Wired, write: Write) -> Accepted:
    """Give a number up; another organisation may take it."""
    try:
        committed = await write(NUMBERS, _stream(ports.keyring, _given(number)), ReleaseNumber(organisation_id=organisation))
    except NumberNotHeld as cause:
        # Whether somebody else holds it is nobody's concern.
        raise nothing("number") from cause
    return Accepted(position=str(committed.position))


async def _confirmed(write: Write, organisation: str, agent_id: str | None, environment: str | None) -> str:
    """The agent's id. Raises Problem for an agent or an environment that the log does not know."""
    try:
        if agent_id is not None:
            stream = StreamId(organisation, "agents", proper_id(agent_id, "agt_", "agent"))
            await write(AGENTS, stream, ConfirmAgent(), step="agent")
    except (NotFound, Problem) as cause:
        raise Problem(INVALID_REQUEST, "There is no such agent.", errors=[At(pointer="#/agent_id", detail="names no agent")]) from cause
    try:
        if environment:
            await write(ENVIRONMENTS, StreamId(organisation, "environments", environment), ConfirmEnvironment(), step="environment")
    except NotFound as cause:
        at = [At(pointer="#/environment", detail="names no environment")]
        raise Problem(INVALID_REQUEST, "There is no such environment.", errors=at) from cause
    return agent_id or ""


def _given(text: str) -> str:
    try:
        return e164(text)
    except ValueError as cause:
        raise nothing("number") from cause


def _stream(keyring: KeyRing, number: str) -> StreamId:
    return StreamId(PLATFORM, "numbers", keyring.reference(PLATFORM, number))


def _view(keyring: KeyRing, row: rows.Number) -> Number:
    return Number(
        number=opened(keyring, row.number), agent_id=row.agent_id, assigned_at=row.assigned_at, environment=row.environment or None
    )
