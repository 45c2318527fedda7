"""Facts about agents: who speaks for a business, in which version."""

from dataclasses import dataclass

from events.registry import event


@event("agent-created", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCreated:
    """A business has a new agent; it cannot take calls before a version is published."""

    name: str


@event("agent-renamed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRenamed:
    """The agent goes by another name; what it says of itself on the line is its versions' business."""

    name: str


@event("agent-version-published", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersionPublished:
    """An immutable version went live. `version_hash` is the SHA-256 of `configuration`, canonical JSON as its owner gave it."""

    version_hash: str
    label: str
    configuration: str


@event("agent-branch-opened", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBranchOpened:
    """Another line of versions begins, at one that is there already."""

    branch: str
    version_hash: str


@event("agent-version-recorded", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersionRecorded:
    """An immutable version is the newest of a branch. It answers where it is pinned, else nobody; fields as of one that goes live."""

    branch: str
    version_hash: str
    label: str
    configuration: str


@event("agent-branch-closed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class AgentBranchClosed:
    """The branch takes no versions any more; those that it had stay, and stay pinned."""

    branch: str


AgentEvent = AgentCreated | AgentRenamed | AgentVersionPublished | AgentBranchOpened | AgentVersionRecorded | AgentBranchClosed
