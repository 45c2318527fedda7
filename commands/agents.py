"""Decides who speaks for a business: an agent is created once, and each configuration that goes live is a version for ever."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from commands.agent_configuration import canonical, read_configuration, version_hash
from commands.decider import CommandRefused, Decider, NotFound
from events.agents import AgentCreated, AgentEvent, AgentVersionPublished


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAgent:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAgentVersion:
    """Let calls that begin from now on be spoken by this configuration, JSON text. An empty label takes the document's version."""

    label: str
    configuration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmAgent:
    """Make sure that there is such an agent, for what refers to it from another stream. It changes nothing."""


AgentCommand: TypeAlias = CreateAgent | PublishAgentVersion | ConfirmAgent


class AgentExists(CommandRefused):
    """An agent is created once."""

    code = "agent-exists"


class AgentNameMissing(CommandRefused):
    """An agent has a name."""

    code = "agent-name-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The agent and the hash of its live version; empty before the first."""

    name: str
    live_hash: str = ""


def decide(command: AgentCommand, agent: Agent | None) -> Sequence[AgentEvent]:
    """Raises InvalidConfiguration for a document that no call could be held with."""
    match command:
        case CreateAgent(name=name):
            return _create(" ".join(name.split()), agent)
        case ConfirmAgent():
            _must_exist(agent)
            return ()
        case PublishAgentVersion(label=label, configuration=configuration):
            live = _must_exist(agent).live_hash
            known = read_configuration(configuration)
            kept = canonical(configuration)
            if version_hash(kept) == live:
                return ()
            return (AgentVersionPublished(version_hash=version_hash(kept), label=label or known.version, configuration=kept),)
        case _:
            assert_never(command)


def _must_exist(agent: Agent | None) -> Agent:
    if agent is None:
        raise NotFound("no such agent; check its id")
    return agent


def _create(name: str, agent: Agent | None) -> Sequence[AgentEvent]:
    if not name:
        raise AgentNameMissing("give the agent a name with at least one visible character")
    if agent is None:
        return (AgentCreated(name=name),)
    if agent.name != name:
        raise AgentExists(f"the agent was created as {agent.name!r}; create the other one under an id of its own")
    return ()


def evolve(agent: Agent | None, fact: AgentEvent) -> Agent | None:
    match fact:
        case AgentCreated(name=name):
            return Agent(name=name)
        case AgentVersionPublished(version_hash=live):
            return None if agent is None else replace(agent, live_hash=live)
        case _:
            assert_never(fact)


AGENTS: Decider[AgentCommand, Agent | None, AgentEvent] = Decider(
    room="agents", category="agents", initial=None, decide=decide, evolve=evolve
)
