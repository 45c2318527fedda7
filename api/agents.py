"""Routes of agents: who speaks for a business, in versions that never change."""

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from api.auth import Organisation
from api.differing import Difference, differences
from api.gate import must_be_shallow
from api.positions import Read, Reading
from api.preconditions import tag
from api.problems import INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, At, Problem, answers, kind_of
from api.shapes import Refers
from api.wire import Accepted, Cursor, Limit, Line, Page, Time, Wire, found, page_of, proper_id
from api.writing import Write
from commands.agent_configuration import InvalidConfiguration, canonical, read_configuration, version_hash
from commands.agents import (
    AGENTS,
    MAIN,
    AgentExists,
    BranchExists,
    CloseBranch,
    CreateAgent,
    MainBranch,
    NothingToBranchFrom,
    OpenBranch,
    PublishAgentVersion,
    PublishBranch,
    RenameAgent,
)
from events.streams import StreamId
from projections import agents as rows

router = APIRouter(prefix="/agents", tags=["agents"])
_BRANCH = r"^[a-z0-9][a-z0-9_.-]{0,99}$"
_INVALID_CONFIGURATION = kind_of(InvalidConfiguration, at_fault=True)
_STRING_OR_COMMENT = re.compile(r'("(?:[^"\\]++|\\.)*+"?)|//[^\n\r]*+', re.DOTALL)
_EXAMPLE = {
    "name": "Customer Support Agent",
    "version": "2.1.0",
    "system_prompt": "You are a helpful customer support agent for ACME Corp.",
    "greeting": "Hello, thank you for calling ACME support. How can I help you today?",
    "voice": {
        "model": "aura-asteria-en",
        "style": "calm_informative",
        "natural_speech": True,
        "emotion_control": "moderate",
        "by_language": {"es-ES": "aura-2-celeste-es"},
    },
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
            "callers may be put through to), and the caps `max_call_ms`, `max_cost_cents` and `max_hold_ms` under `parameters`. It speaks "
            "each of `language.supported` that has a voice in `voice.by_language` (with `|polly/NAME` behind it: who stands in), in the "
            "sentences of `language.wording` (a language to a sentence's name to its words), said as `language.pronunciation` has them. "
            "The model changes it by a tool; with `language.auto_detect` the caller's words do, by `parameters.language_share` and "
            "`parameters.language_words`. `voice.others` (a name to a voice) has further voices of the same language."
        ),
        "content": {"application/json": {"schema": {"type": "object", "title": "AgentConfiguration", "examples": [_EXAMPLE]}}},
    }
}


class NewAgent(Wire):
    name: Line


class AgentChanges(Wire):
    """A merge patch. Of an agent itself only its name changes; what it says is in its versions."""

    name: Line


Number = Annotated[
    int,
    Field(
        description="Its place among all that happened to the agent, of which its creation is 1: the first version published is 2 or more. "
        "Numbers rise and leave gaps (a renaming has one too); `label` is what people call it, `hash` what it is."
    ),
]


class LiveVersion(Wire):
    """The version that answers calls now, wherever no other one is pinned."""

    version: Number
    label: str
    hash: str
    published_at: Time


class Agent(Wire):
    """An agent; `live` is null until a version is published."""

    id: Annotated[str, Refers("summary", "/v1/agents/{}/summary")]
    name: str
    created_at: Time
    versions: Annotated[int, Field(description="How many went live.")]
    live: LiveVersion | None


class AgentVersion(Wire):
    """A version, for ever as it was published. `hash` is the SHA-256 of the configuration's canonical JSON."""

    agent_id: Annotated[str, Refers("agent", "/v1/agents/{}")]
    version: Number
    label: str
    hash: str
    branch: str
    configuration: dict[str, Any]
    published_at: Time


class NewBranch(Wire):
    """`base`: the branch at whose newest version it begins."""

    name: Annotated[str, Field(pattern=_BRANCH)]
    base: Annotated[str, Field(pattern=_BRANCH)] = MAIN


class Branch(Wire):
    """A line of versions. The newest of `main` is live; those of others answer where they are pinned."""

    name: str
    hash: str
    moved_at: Time


class VersionDifference(Wire):
    """What makes version `after` another one than `before`, by JSON pointers into the configuration."""

    agent_id: Annotated[str, Refers("agent", "/v1/agents/{}")]
    before: int
    after: int
    differences: list[Difference]


BranchName = Annotated[str, Path(description="As it was opened.")]
VersionNumber = Annotated[int, Path(ge=1, le=10**9, description="As among the agent's versions.")]
AgentId = Annotated[str, Path(description="`agt_…`")]


@router.post("", status_code=201, responses=answers(AgentExists, PRECONDITION_FAILED))
async def create_agent(body: NewAgent, organisation: Organisation, write: Write) -> Agent:
    """Create an agent. It takes calls once a version is published and a number is assigned to it."""
    agent_id = write.intent.fresh_id("agt_")
    stream = _stream(organisation, agent_id)
    committed = await write(AGENTS, stream, CreateAgent(name=body.name))
    write.created_at(f"/v1/agents/{agent_id}")
    at = await write.first_at(stream, committed)
    return Agent(id=agent_id, name=" ".join(body.name.split()), created_at=at, versions=0, live=None)


@router.get("")
async def list_agents(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Agent]:
    """The organisation's agents, newest first, but for those made with an `Idempotency-Key`: these stand by their ids."""
    found_rows, after = await read.page(rows.AGENTS, organisation, limit=limit, cursor=cursor)
    return page_of([_agent(row) for row in found_rows], after)


@router.get("/{agent_id}", responses=answers(NOT_FOUND))
async def get_agent(agent_id: AgentId, organisation: Organisation, read: Read, response: Response) -> Agent:
    """One agent."""
    row = found(await read.row(rows.AGENTS, _stream(organisation, agent_id)), "agent")
    tag(response, row.version)
    return _agent(row)


@router.patch("/{agent_id}", responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def rename_agent(agent_id: AgentId, body: AgentChanges, organisation: Organisation, write: Write) -> Accepted:
    """Give the agent another name."""
    committed = await write(AGENTS, _stream(organisation, agent_id), RenameAgent(name=body.name))
    return Accepted(position=str(committed.position))


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
    branch: Annotated[str, Query(pattern=_BRANCH, description="Another than `main`: it is kept there, and does not go live.")] = MAIN,
) -> AgentVersion:
    """Publish a configuration. Calls that begin from now on are spoken by it; the same one again changes nothing."""
    stream = _stream(organisation, agent_id)
    text = _without_comments(await request.body())
    committed = await write(AGENTS, stream, PublishAgentVersion(label=label or "", configuration=text, branch=branch))
    kept = canonical(text)
    at = await write.first_at(stream, committed)
    write.created_at(f"/v1/agents/{agent_id}/versions/{committed.version}")
    return AgentVersion(
        agent_id=agent_id, version=committed.version, label=label or read_configuration(text).version, hash=version_hash(kept),
        branch=branch, configuration=json.loads(kept), published_at=at,
    )  # fmt: skip


@router.get("/{agent_id}/versions", responses=answers(NOT_FOUND))
async def list_agent_versions(
    agent_id: AgentId, organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None
) -> Page[AgentVersion]:  # fmt: skip
    """Every version there ever was, on whatever branch, in order."""
    stream = _stream(organisation, agent_id)
    found(await read.row(rows.AGENTS, stream), "agent")
    place = read.behind(cursor)
    entries, after = await read.entries(rows.AGENT_VERSIONS, stream, after=place or 0, limit=limit)
    return page_of([_version(entry) for entry in entries], read.cursor(after))


@router.get("/{agent_id}/versions/{version}", responses=answers(NOT_FOUND))
async def get_agent_version(
    agent_id: AgentId, version: VersionNumber, organisation: Organisation, read: Read
) -> AgentVersion:  # fmt: skip
    """One version."""
    return _version(await _version_of(read, organisation, agent_id, version))


@router.get("/{agent_id}/versions/{version}/diff", responses=answers(NOT_FOUND))
async def compare_agent_versions(
    agent_id: AgentId, version: VersionNumber, organisation: Organisation, read: Read,
    against: Annotated[int, Query(ge=1, le=10**9, description="The version that is taken as the one before.")],
) -> VersionDifference:  # fmt: skip
    """What a version has otherwise than another one."""
    before, after = [await _version_of(read, organisation, agent_id, each) for each in (against, version)]
    told = list(differences(json.loads(before.configuration), json.loads(after.configuration)))
    return VersionDifference(agent_id=agent_id, before=against, after=version, differences=told)


@router.post(
    "/{agent_id}/branches", status_code=201,
    responses=answers(NOT_FOUND, BranchExists, MainBranch, NothingToBranchFrom, PRECONDITION_FAILED),
)  # fmt: skip
async def open_branch(agent_id: AgentId, body: NewBranch, organisation: Organisation, write: Write) -> Accepted:
    """Begin another line of versions. What is published there answers where it is pinned, or when the branch is published."""
    committed = await write(AGENTS, _stream(organisation, agent_id), OpenBranch(branch=body.name, base=body.base))
    write.created_at(f"/v1/agents/{agent_id}/branches/{body.name}")
    return Accepted(position=str(committed.position))


@router.get("/{agent_id}/branches", responses=answers(NOT_FOUND))
async def list_branches(agent_id: AgentId, organisation: Organisation, read: Read) -> Page[Branch]:
    """The agent's lines of versions; `main` is among them once a version is live."""
    return page_of(_branches(found(await read.row(rows.AGENTS, _stream(organisation, agent_id)), "agent")), None)


@router.get("/{agent_id}/branches/{branch}", responses=answers(NOT_FOUND))
async def get_branch(agent_id: AgentId, branch: BranchName, organisation: Organisation, read: Read) -> Branch:
    """One branch."""
    row = found(await read.row(rows.AGENTS, _stream(organisation, agent_id)), "agent")
    return found(next((each for each in _branches(row) if each.name == branch), None), "branch")


@router.post("/{agent_id}/branches/{branch}/publish", status_code=202, responses=answers(NOT_FOUND, MainBranch, PRECONDITION_FAILED))
async def publish_branch(agent_id: AgentId, branch: BranchName, organisation: Organisation, write: Write) -> Accepted:
    """Let the newest version of a branch go live."""
    committed = await write(AGENTS, _stream(organisation, agent_id), PublishBranch(branch=branch))
    return Accepted(position=str(committed.position))


@router.delete("/{agent_id}/branches/{branch}", status_code=202, responses=answers(NOT_FOUND, MainBranch, PRECONDITION_FAILED))
async def close_branch(agent_id: AgentId, branch: BranchName, organisation: Organisation, write: Write) -> Accepted:
    """Close a branch. Its versions stay, and stay pinned where they are."""
    committed = await write(AGENTS, _stream(organisation, agent_id), CloseBranch(branch=branch))
    return Accepted(position=str(committed.position))


async def _version_of(read: Reading, organisation: str, agent_id: str, version: int) -> rows.AgentVersion:
    return found(await read.entry(rows.AGENT_VERSIONS, _stream(organisation, agent_id), version), "version")


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
    live = row.live and LiveVersion(
        version=row.live.version, label=row.live.label, hash=row.live.version_hash, published_at=row.live.published_at
    )
    return Agent(id=row.id, name=row.name, created_at=row.created_at, versions=row.versions, live=live)


def _version(entry: rows.AgentVersion) -> AgentVersion:
    return AgentVersion(
        agent_id=entry.id, version=entry.version, label=entry.label, hash=entry.version_hash, branch=entry.branch,
        configuration=json.loads(entry.configuration), published_at=entry.occurred_at,
    )  # fmt: skip


def _branches(row: rows.Agent) -> list[Branch]:
    main = [] if row.live is None else [Branch(name=MAIN, hash=row.live.version_hash, moved_at=row.live.published_at)]
    return [*main, *(Branch(name=each.name, hash=each.version_hash, moved_at=each.moved_at) for each in row.branches)]
