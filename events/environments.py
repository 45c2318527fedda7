"""Facts about environments: where which version of which agent answers, whatever is live elsewhere."""

from dataclasses import dataclass

from events.registry import event


@event("environment-opened", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOpened:
    """A business has an environment of this name, or describes it anew."""

    description: str = ""


@event("agent-pinned", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPinned:
    """In this environment the agent speaks by this version and no other. `configuration` is the version's, so that a ring needs no more."""

    agent_id: str
    version_hash: str
    label: str
    configuration: str


@event("agent-unpinned", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentUnpinned:
    """In this environment the agent speaks again by what is live."""

    agent_id: str


@event("environment-closed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentClosed:
    """The environment and its pins are gone; its numbers are answered by what is live."""


EnvironmentEvent = EnvironmentOpened | AgentPinned | AgentUnpinned | EnvironmentClosed
