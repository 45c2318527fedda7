"""Facts about agents: who speaks for a business, in which version."""

from dataclasses import dataclass

from events.registry import event


@event("agent-created", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCreated:
    """A business has a new agent; it cannot take calls before a version is published."""

    name: str


@event("agent-version-published", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersionPublished:
    """An immutable version went live. `version_hash` is the SHA-256 of `configuration`, canonical JSON as its owner gave it."""

    version_hash: str
    label: str
    configuration: str


AgentEvent = AgentCreated | AgentVersionPublished
