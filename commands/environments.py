"""Decides which version of which agent answers in an environment of a business."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, assert_never

from commands.agent_configuration import version_hash
from commands.decider import CommandRefused, Decider, NotFound
from events.environments import AgentPinned, AgentUnpinned, EnvironmentClosed, EnvironmentEvent, EnvironmentOpened


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEnvironment:
    """Have an environment of this name; where there is one, describe it anew."""

    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A version of an agent, with its configuration as it was published."""

    agent_id: str
    version_hash: str
    label: str
    configuration: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PinAgents:
    """Have these agents speak by these versions, all from the same moment on."""

    pins: tuple[Pin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpinAgent:
    agent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseEnvironment:
    """Take the environment away, with its pins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmEnvironment:
    """Make sure that there is such an environment, for what refers to it from another stream. It changes nothing."""


EnvironmentCommand: TypeAlias = OpenEnvironment | PinAgents | UnpinAgent | CloseEnvironment | ConfirmEnvironment


class AnotherConfiguration(CommandRefused):
    """A version is its configuration: another one cannot be pinned under its name."""

    code = "another-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment, and the pinned versions by agent."""

    description: str
    pins: Mapping[str, str] = field(default_factory=dict)


def decide(command: EnvironmentCommand, environment: Environment | None) -> Sequence[EnvironmentEvent]:
    if isinstance(command, OpenEnvironment):
        same = environment is not None and environment.description == command.description
        return () if same else (EnvironmentOpened(description=command.description),)
    if environment is None:
        raise NotFound("no such environment; open it first")
    match command:
        case PinAgents(pins=pins):
            return [_pinned(pin) for pin in pins if environment.pins.get(pin.agent_id) != pin.version_hash]
        case UnpinAgent(agent_id=agent_id):
            if agent_id not in environment.pins:
                raise NotFound("the agent is not pinned in this environment")
            return (AgentUnpinned(agent_id=agent_id),)
        case CloseEnvironment():
            return (EnvironmentClosed(),)
        case ConfirmEnvironment():
            return ()
        case _:
            assert_never(command)


def _pinned(pin: Pin) -> AgentPinned:
    if version_hash(pin.configuration) != pin.version_hash:
        raise AnotherConfiguration(f"the configuration is not that of version {pin.version_hash}; pin it as it was published")
    return AgentPinned(agent_id=pin.agent_id, version_hash=pin.version_hash, label=pin.label, configuration=pin.configuration)


def evolve(environment: Environment | None, fact: EnvironmentEvent) -> Environment | None:
    if isinstance(fact, EnvironmentOpened):
        return replace(environment or Environment(description=""), description=fact.description)
    if environment is None:
        return None
    match fact:
        case AgentPinned(agent_id=agent_id, version_hash=pinned):
            return replace(environment, pins={**environment.pins, agent_id: pinned})
        case AgentUnpinned(agent_id=agent_id):
            return replace(environment, pins={agent: pinned for agent, pinned in environment.pins.items() if agent != agent_id})
        case EnvironmentClosed():
            return None
        case _:
            assert_never(fact)


ENVIRONMENTS: Decider[EnvironmentCommand, Environment | None, EnvironmentEvent] = Decider(
    room="environments", category="environments", initial=None, decide=decide, evolve=evolve
)
