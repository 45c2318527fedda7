"""Routes of agents: who speaks for a business, in versions that never change."""

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from api.auth import Organisation
from api.gate import must_be_shallow
from api.positions import Read
from api.preconditions import tag
from api.problems import INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, At, Problem, answers, kind_of
from api.wire import Cursor, Limit, Line, Page, Time, Wire, found, page_of, proper_id, read_cursor, write_cursor
from api.writing import Write
from commands.agent_configuration import InvalidConfiguration, canonical, read_configuration, version_hash
from commands.agents import AGENTS, AgentExists, CreateAgent, PublishAgentVersion
from events.streams import StreamId
from projections import agents as rows

router = APIRouter(prefix="/agents", tags=["agents"])
_INVALID_CONFIGURATION = kind_of(InvalidConfiguration, at_fault=True)
_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\]++|\\.)*+"?)|//[^\n\r]*+', re.DOTALL)
_EXAMPLE = {
    "name": "Customer Support Agent",
    "version": "2.1.0",
    "system_prompt": "You are a helpful customer support agent for ACME Corp.",
    "greeting": "Hello, thank you for calling ACME support. How can I help you today?",
    "voice": {"model": "aura-asteria-en", "style": "calm_informative", "natural_speech": True, "emotion_control": "moderate"},
    "language": {"primary": "en-US", "auto_detect": True, "supported": ["en-US", "es-ES", "fr-FR"]},
    "models": {"default": "claude-3-5-sonnet-v2", "fast": "claude-3-5-haiku", "complex": "claude-3-7-sonnet"},
    "automation": {"tools_enabled": True, "max_tool_calls": 5, "async_workflows": True},
    "parameters": {"max_response_time": 1500, "interruption_threshold": 0.7, "context_window": 32000, "temperature": 0.3},
    "phone_integration": {"type": "managed", "region": "us-east-1", "fallback_region": "us-west-2"},
}
_CONFIGURATION = {
    "requestBody": {
        "required": True,
        "description": (
            "The configuration itself. `//` comments are left out before it is read. What a caller may do on the line stands in it too: "
            "`keypad.words` (true: keys that are pressed are told to the model), `keypad.capture` (true: the model may have digits keyed "
            "in that nobody sees but the tool that redeems their reference), `transfer.destinations` (a name to a number in E.164: where "
            "callers may be put through to), and the caps `max_call_ms`, `max_cost_cents` and `max_hold_ms` under `parameters`."
        ),
        "content": {"application/json": {"schema": {"type": "object", "title": "AgentConfiguration", "examples": [_EXAMPLE]}}},
    }
}


class NewAgent(Wire):
    name: Line


class LiveVersion(Wire):
    """The version that answers calls now."""

    label: str
    hash: str
    published_at: Time


class Agent(Wire):
    """An agent; `live` is null until a version is published."""

    id: str
    name: str
    created_at: Time
    versions: int
    live: LiveVersion | None


class AgentVersion(Wire):
    """A version, for ever as it was published. `hash` is the SHA-256 of the configuration's canonical JSON."""

    agent_id: str
    version: int
    label: str
    hash: str
    configuration: dict[str, Any]
    published_at: Time


AgentId = Annotated[str, Path(description="`agt_…`")]


@router.post("", status_code=201, responses=answers(AgentExists, PRECONDITION_FAILED))
async def create_agent(body: NewAgent, organisation: Organisation, write: Write) -> Agent:
    """Create an agent. It takes calls once a version is published and a number is assigned to it."""
    agent_id = write.intent.fresh_id("agt_")
    committed = await write(AGENTS, _stream(organisation, agent_id), CreateAgent(name=body.name))
    write.created_at(f"/v1/agents/{agent_id}")
    at = committed.facts[0].occurred_at if committed.facts else write.now
    return Agent(id=agent_id, name=" ".join(body.name.split()), created_at=at, versions=0, live=None)


@router.get("")
async def list_agents(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Agent]:
    """The organisation's agents."""
    found_rows, after = await read.page(rows.AGENTS, organisation, limit=limit, cursor=cursor)
    return page_of([_agent(row) for row in found_rows], after)


@router.get("/{agent_id}", responses=answers(NOT_FOUND))
async def get_agent(agent_id: AgentId, organisation: Organisation, read: Read, response: Response) -> Agent:
    """One agent."""
    row = found(await read.row(rows.AGENTS, _stream(organisation, agent_id)), "agent")
    tag(response, row.version)
    return _agent(row)


@router.post(
    "/{agent_id}/versions",
    status_code=201,
    responses=answers(NOT_FOUND, PRECONDITION_FAILED, INVALID_REQUEST, _INVALID_CONFIGURATION),
    openapi_extra=_CONFIGURATION,
)
async def publish_agent_version(
    agent_id: AgentId,
    organisation: Organisation,
    request: Request,
    write: Write,
    label: Annotated[Line | None, Query(description="How people call it; else the configuration's `version`.")] = None,
) -> AgentVersion:
    """Publish a configuration. Calls that begin from now on are spoken by it; the same one again changes nothing."""
    stream = _stream(organisation, agent_id)
    text = _without_comments(await request.body())
    committed = await write(AGENTS, stream, PublishAgentVersion(label=label or "", configuration=text))
    kept = canonical(text)
    at = committed.facts[0].occurred_at if committed.facts else write.now
    write.created_at(f"/v1/agents/{agent_id}/versions/{committed.version}")
    return AgentVersion(
        agent_id=agent_id, version=committed.version, label=label or read_configuration(text).version, hash=version_hash(kept),
        configuration=json.loads(kept), published_at=at,
    )  # fmt: skip


@router.get("/{agent_id}/versions", responses=answers(NOT_FOUND))
async def list_agent_versions(
    agent_id: AgentId, organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None
) -> Page[AgentVersion]:  # fmt: skip
    """Every version that went live, in order."""
    stream = _stream(organisation, agent_id)
    found(await read.row(rows.AGENTS, stream), "agent")
    place = read_cursor(cursor, int)
    entries, after = await read.entries(rows.AGENT_VERSIONS, stream, after=place[0] if place else 0, limit=limit)
    return page_of([_version(entry) for entry in entries], None if after is None else write_cursor([after]))


@router.get("/{agent_id}/versions/{version}", responses=answers(NOT_FOUND))
async def get_agent_version(
    agent_id: AgentId, version: Annotated[int, Path(ge=1, le=10**9)], organisation: Organisation, read: Read
) -> AgentVersion:  # fmt: skip
    """One version."""
    entries, _ = await read.entries(rows.AGENT_VERSIONS, _stream(organisation, agent_id), after=version - 1, limit=1)
    return _version(found(next((entry for entry in entries if entry.version == version), None), "version"))


def _stream(organisation: str, agent_id: str) -> StreamId:
    return StreamId(organisation, "agents", proper_id(agent_id, "agt_", "agent"))


def _without_comments(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as cause:
        raise Problem(
            INVALID_REQUEST, "The body is not UTF-8.", errors=[At(pointer="#", detail=f"byte {cause.start} is not UTF-8")]
        ) from cause
    text = _STRING_OR_COMMENT.sub(lambda part: part[1] or "", text)
    must_be_shallow(text.encode())
    return text


def _agent(row: rows.Agent) -> Agent:
    live = row.live and LiveVersion(label=row.live.label, hash=row.live.version_hash, published_at=row.live.published_at)
    return Agent(id=row.id, name=row.name, created_at=row.created_at, versions=row.versions, live=live)


def _version(entry: rows.AgentVersion) -> AgentVersion:
    return AgentVersion(
        agent_id=entry.id, version=entry.version, label=entry.label, hash=entry.version_hash, configuration=json.loads(entry.configuration),
        published_at=entry.occurred_at,
    )  # fmt: skip
