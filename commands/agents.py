"""Decides who speaks for a business: an agent is created once, and each configuration is a version for ever, live or on a branch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from commands.agent_configuration import canonical, read_configuration, version_hash
from commands.decider import CommandRefused, Decider, NotFound
from events.agents import (
    AgentBranchClosed,
    AgentBranchOpened,
    AgentCreated,
    AgentEvent,
    AgentRenamed,
    AgentVersionPublished,
    AgentVersionRecorded,
)

MAIN = "main"
"""The branch whose newest version is live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAgent:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameAgent:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAgentVersion:
    """Let calls that begin from now on be spoken by this configuration, JSON text. An empty label takes the document's version.

    On another branch than the main one it is kept there, and answers nobody until it is pinned or the branch is published.
    """

    label: str
    configuration: str
    branch: str = MAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBranch:
    """Begin another line of versions at the newest one of `base`."""

    branch: str
    base: str = MAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBranch:
    """Let the newest version of a branch go live."""

    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseBranch:
    branch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmAgent:
    """Make sure that there is such an agent, for what refers to it from another stream. It changes nothing."""


AgentCommand: TypeAlias = CreateAgent | RenameAgent | PublishAgentVersion | OpenBranch | PublishBranch | CloseBranch | ConfirmAgent


class AgentExists(CommandRefused):
    """An agent is created once."""

    code = "agent-exists"


class AgentNameMissing(CommandRefused):
    """An agent has a name."""

    code = "agent-name-missing"


class BranchExists(CommandRefused):
    """A branch is opened once, unless it was closed since."""

    code = "branch-exists"


class NothingToBranchFrom(CommandRefused):
    """A branch begins at a version; publish one first."""

    code = "nothing-to-branch-from"


class MainBranch(CommandRefused):
    """The main branch is what is live: it is neither opened nor closed, and publishing on it is enough."""

    code = "main-branch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest version of a branch."""

    version_hash: str
    label: str
    configuration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The agent and the newest version of each branch that has one; the main one's is live."""

    name: str
    heads: Mapping[str, Head] = field(default_factory=dict)


def decide(command: AgentCommand, agent: Agent | None) -> Sequence[AgentEvent]:
    """Raises InvalidConfiguration for a document that no call could be held with."""
    match command:
        case CreateAgent(name=name):
            return _create(_named(name), agent)
        case RenameAgent(name=name):
            return () if _must_exist(agent).name == _named(name) else (AgentRenamed(name=_named(name)),)
        case ConfirmAgent():
            _must_exist(agent)
            return ()
        case PublishAgentVersion():
            return _publish(command, _must_exist(agent))
        case OpenBranch(branch=branch, base=base):
            return _open(branch, base, _must_exist(agent))
        case PublishBranch(branch=branch):
            known = _must_exist(agent)
            head = _head(branch, known)
            live = known.heads.get(MAIN)
            if live is not None and live.version_hash == head.version_hash:
                return ()
            return (AgentVersionPublished(version_hash=head.version_hash, label=head.label, configuration=head.configuration),)
        case CloseBranch(branch=branch):
            _head(branch, _must_exist(agent))
            return (AgentBranchClosed(branch=branch),)
        case _:
            assert_never(command)


def _must_exist(agent: Agent | None) -> Agent:
    if agent is None:
        raise NotFound("no such agent; check its id")
    return agent


def _named(name: str) -> str:
    trimmed = " ".join(name.split())
    if not trimmed:
        raise AgentNameMissing("give the agent a name with at least one visible character")
    return trimmed


def _create(name: str, agent: Agent | None) -> Sequence[AgentEvent]:
    if agent is None:
        return (AgentCreated(name=name),)
    if agent.name != name:
        raise AgentExists(f"the agent was created as {agent.name!r}; create the other one under an id of its own")
    return ()


def _publish(command: PublishAgentVersion, agent: Agent) -> Sequence[AgentEvent]:
    if command.branch != MAIN:
        _head(command.branch, agent)
    known = read_configuration(command.configuration)
    kept = canonical(command.configuration)
    newest = agent.heads.get(command.branch)
    if newest is not None and version_hash(kept) == newest.version_hash:
        return ()
    label = command.label or known.version
    if command.branch == MAIN:
        return (AgentVersionPublished(version_hash=version_hash(kept), label=label, configuration=kept),)
    return (AgentVersionRecorded(branch=command.branch, version_hash=version_hash(kept), label=label, configuration=kept),)


def _open(branch: str, base: str, agent: Agent) -> Sequence[AgentEvent]:
    if branch == MAIN:
        raise MainBranch("the main branch is there already; give the new one another name")
    if base == MAIN and MAIN not in agent.heads:
        raise NothingToBranchFrom("the agent has no version yet; publish one, and branch from it")
    head = agent.heads[MAIN] if base == MAIN else _head(base, agent)
    if branch in agent.heads:
        raise BranchExists(f"there is a branch {branch!r} already; close it first, or take another name")
    return (AgentBranchOpened(branch=branch, version_hash=head.version_hash),)


def _head(branch: str, agent: Agent) -> Head:
    if branch == MAIN:
        raise MainBranch("that is the main branch: what is published on it is live at once, and it stays")
    if branch not in agent.heads:
        raise NotFound("the agent has no such branch; open it first")
    return agent.heads[branch]


def evolve(agent: Agent | None, fact: AgentEvent) -> Agent | None:
    if isinstance(fact, AgentCreated):
        return Agent(name=fact.name)
    if agent is None:
        return None
    match fact:
        case AgentRenamed(name=name):
            return replace(agent, name=name)
        case AgentVersionPublished():
            return _with(agent, MAIN, fact)
        case AgentVersionRecorded(branch=branch):
            return _with(agent, branch, fact)
        case AgentBranchOpened(branch=branch, version_hash=wanted):
            base = next((head for head in agent.heads.values() if head.version_hash == wanted), None)
            return agent if base is None else replace(agent, heads={**agent.heads, branch: base})
        case AgentBranchClosed(branch=branch):
            return replace(agent, heads={name: head for name, head in agent.heads.items() if name != branch})
        case _:
            assert_never(fact)


def _with(agent: Agent, branch: str, fact: AgentVersionPublished | AgentVersionRecorded) -> Agent:
    head = Head(version_hash=fact.version_hash, label=fact.label, configuration=fact.configuration)
    return replace(agent, heads={**agent.heads, branch: head})


AGENTS: Decider[AgentCommand, Agent | None, AgentEvent] = Decider(
    room="agents", category="agents", initial=None, decide=decide, evolve=evolve
)
