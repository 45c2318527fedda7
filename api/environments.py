"""Routes of environments: where which version of which agent answers, whatever is live elsewhere."""

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.auth import Organisation
from api.positions import Read, Reading
from api.preconditions import tag
from api.problems import INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, At, Problem, answers
from api.shapes import Refers
from api.wire import Accepted, Cursor, Limit, Page, Paragraphs, Time, Wire, found, nothing, page_of, proper_id
from api.writing import Write
from commands.environments import ENVIRONMENTS, CloseEnvironment, OpenEnvironment, Pin, PinAgents, UnpinAgent
from events.streams import StreamId
from projections import environments as rows
from projections.agents import AGENT_VERSIONS

router = APIRouter(prefix="/environments", tags=["environments"])
_NAME = r"^[a-z0-9][a-z0-9_.-]{0,99}$"


class NewEnvironment(Wire):
    description: Paragraphs = ""


class Pinned(Wire):
    """An agent that speaks here by this version, whatever is live."""

    agent_id: str
    hash: str
    label: str
    pinned_at: Time
    pinned_by: str


class Environment(Wire):
    """An environment. An agent that is not among its pins speaks here by what is live."""

    name: str
    description: str
    opened_at: Time
    pins: list[Pinned]


class NewPin(Wire):
    version: Annotated[int, Field(ge=1, le=10**9, description="As among the agent's versions.")]


class Promotion(Wire):
    source: Annotated[str, Field(pattern=_NAME, description="The environment whose pins are taken over.")]


class EnvironmentDifference(Wire):
    """An agent that two environments do not answer alike; null: by what is live."""

    agent_id: Annotated[str, Refers("agent", "/v1/agents/{}")]
    before: Pinned | None
    after: Pinned | None


Name = Annotated[str, Path(description="Small letters, digits and `_ . -`: `production`, `staging`, or a name of your own.")]
NewName = Annotated[
    str, Path(pattern=_NAME, description="Small letters, digits and `_ . -`: `production`, `staging`, or a name of your own.")
]
AgentId = Annotated[str, Path(description="`agt_…`")]


@router.get("")
async def list_environments(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Environment]:
    """The environments of the organisation, by name."""
    found_rows, after = await read.page(rows.ENVIRONMENTS, organisation, limit=limit, cursor=cursor, newest_first=False)
    return page_of([_view(row) for row in found_rows], after)


@router.get("/{name}", responses=answers(NOT_FOUND))
async def get_environment(name: Name, organisation: Organisation, read: Read, response: Response) -> Environment:
    """One environment."""
    row = await _row(read, organisation, name)
    tag(response, row.version)
    return _view(row)


@router.put("/{name}", status_code=202, responses=answers(PRECONDITION_FAILED))
async def open_environment(name: NewName, organisation: Organisation, write: Write, body: NewEnvironment | None = None) -> Accepted:
    """Have an environment of this name. Where there is one it is described anew, and keeps its pins."""
    command = OpenEnvironment(description=(body or NewEnvironment()).description)
    return Accepted(position=str((await write(ENVIRONMENTS, _stream(organisation, name), command)).position))


@router.delete("/{name}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def close_environment(name: Name, organisation: Organisation, write: Write) -> Accepted:
    """Take the environment away, with its pins. Its numbers are answered by what is live."""
    return Accepted(position=str((await write(ENVIRONMENTS, _stream(organisation, name), CloseEnvironment())).position))


@router.put("/{name}/agents/{agent_id}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def pin_agent(name: Name, agent_id: AgentId, body: NewPin, organisation: Organisation, read: Read, write: Write) -> Accepted:
    """Have an agent speak here by one of its versions, from the next call on."""
    versions = StreamId(organisation, "agents", proper_id(agent_id, "agt_", "agent"))
    version = found(await read.entry(AGENT_VERSIONS, versions, body.version), "version")
    pin = Pin(agent_id=agent_id, version_hash=version.version_hash, label=version.label, configuration=version.configuration)
    return Accepted(position=str((await write(ENVIRONMENTS, _stream(organisation, name), PinAgents(pins=(pin,)))).position))


@router.delete("/{name}/agents/{agent_id}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def unpin_agent(name: Name, agent_id: AgentId, organisation: Organisation, write: Write) -> Accepted:
    """Have an agent speak here by what is live."""
    return Accepted(position=str((await write(ENVIRONMENTS, _stream(organisation, name), UnpinAgent(agent_id=agent_id))).position))


@router.post("/{name}/promote", status_code=202, responses=answers(NOT_FOUND, INVALID_REQUEST, PRECONDITION_FAILED))
async def promote_environment(name: Name, body: Promotion, organisation: Organisation, read: Read, write: Write) -> Accepted:
    """Take the pins of another environment over, all of them from the same moment on. Agents that are pinned here alone stay so."""
    stream = _stream(organisation, body.source)
    source = await read.row(rows.ENVIRONMENTS, stream)
    if source is None:
        at = [At(pointer="#/source", detail="names no environment")]
        raise Problem(INVALID_REQUEST, "There is no such environment to take pins from.", errors=at)
    wanted, after, pins = {pin.agent_id: pin.version_hash for pin in source.pins}, 0, dict[str, Pin]()
    while True:
        entries, more = await read.entries(rows.ENVIRONMENT_PINS, stream, after=after, limit=100)
        for each in entries:
            if each.configuration is not None and each.version_hash is not None and wanted.get(each.agent_id) == each.version_hash:
                pins[each.agent_id] = Pin(
                    agent_id=each.agent_id, version_hash=each.version_hash, label=each.label or "", configuration=each.configuration
                )  # fmt: skip
        if more is None:
            break
        after = more
    command = PinAgents(pins=tuple(pins.values()))
    return Accepted(position=str((await write(ENVIRONMENTS, _stream(organisation, name), command)).position))


@router.get("/{name}/diff", responses=answers(NOT_FOUND))
async def compare_environments(
    name: Name, organisation: Organisation, read: Read,
    against: Annotated[str, Query(pattern=_NAME, description="The environment that is taken as the one before.")],
) -> Page[EnvironmentDifference]:  # fmt: skip
    """Which agents an environment answers otherwise than another one, in the order of their ids."""
    before, after = [{pin.agent_id: pin for pin in (await _row(read, organisation, each)).pins} for each in (against, name)]
    told = [
        EnvironmentDifference(agent_id=agent, before=_pin(before.get(agent)), after=_pin(after.get(agent)))
        for agent in sorted(before.keys() | after.keys())
        if _hash(before.get(agent)) != _hash(after.get(agent))
    ]
    return page_of(told, None)


async def _row(read: Reading, organisation: str, name: str) -> rows.Environment:
    return found(await read.row(rows.ENVIRONMENTS, _stream(organisation, name)), "environment")


def _stream(organisation: str, name: str) -> StreamId:
    if not re.fullmatch(_NAME, name):
        raise nothing("environment")
    return StreamId(organisation, "environments", name)


def _hash(pin: rows.Pinned | None) -> str | None:
    return None if pin is None else pin.version_hash


def _pin(pin: rows.Pinned | None) -> Pinned | None:
    if pin is None:
        return None
    return Pinned(agent_id=pin.agent_id, hash=pin.version_hash, label=pin.label, pinned_at=pin.pinned_at, pinned_by=pin.pinned_by)


def _view(row: rows.Environment) -> Environment:
    pins = [shown for pin in row.pins if (shown := _pin(pin)) is not None]
    return Environment(name=row.id, description=row.description, opened_at=row.opened_at, pins=pins)
