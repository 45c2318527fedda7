"""Who speaks for a business: agents, their branches, and every version of them that there ever was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.agents import (
    AgentBranchClosed,
    AgentBranchOpened,
    AgentCreated,
    AgentEvent,
    AgentRenamed,
    AgentVersionPublished,
    AgentVersionRecorded,
)
from events.recorded import Recorded
from projections.series import Series
from projections.table import BrokenHistory, Table

MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version that went live, `version` by its number. `configuration` is JSON as its owner gave it, in canonical form."""

    label: str
    version_hash: str
    configuration: str
    published_at: datetime
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A line of versions beside the main one, and the newest of it."""

    name: str
    version_hash: str
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent and the version that answers now; None before the first was published. `versions` counts those that went live."""

    tenant: str
    id: str
    version: int
    name: str
    created_at: datetime
    versions: int = 0
    live: Published | None = None
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersion:
    """An immutable version, in the order of publishing; on another branch than the main one it did not go live by that."""

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    label: str
    version_hash: str
    configuration: str
    actor: str
    branch: str = MAIN


def evolve(row: Agent | None, recorded: Recorded[AgentEvent]) -> Agent:
    fact, at = recorded.fact, recorded.occurred_at
    if isinstance(fact, AgentCreated):
        stream = recorded.stream
        return Agent(tenant=stream.tenant, id=stream.id, version=recorded.version, name=fact.name, created_at=at)
    if row is None:
        raise BrokenHistory(f"{recorded.stream} has facts before it was created")
    match fact:
        case AgentRenamed(name=name):
            return replace(row, name=name)
        case AgentVersionPublished(version_hash=version_hash, label=label, configuration=configuration):
            live = Published(
                label=label, version_hash=version_hash, configuration=configuration, published_at=at, version=recorded.version
            )  # fmt: skip
            return replace(row, live=live, versions=row.versions + 1)
        case AgentBranchOpened(branch=branch, version_hash=version_hash) | AgentVersionRecorded(branch=branch, version_hash=version_hash):
            others = tuple(each for each in row.branches if each.name != branch)
            return replace(row, branches=(*others, Branch(name=branch, version_hash=version_hash, moved_at=at)))
        case AgentBranchClosed(branch=branch):
            return replace(row, branches=tuple(each for each in row.branches if each.name != branch))
        case _:
            assert_never(fact)


def entries(recorded: Recorded[AgentEvent]) -> Sequence[AgentVersion]:
    fact = recorded.fact
    match fact:
        case AgentVersionPublished() | AgentVersionRecorded():
            stream = recorded.stream
            return (
                AgentVersion(
                    tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, label=fact.label,
                    version_hash=fact.version_hash, configuration=fact.configuration, actor=recorded.actor,
                    branch=fact.branch if isinstance(fact, AgentVersionRecorded) else MAIN,
                ),
            )  # fmt: skip
        case AgentCreated() | AgentRenamed() | AgentBranchOpened() | AgentBranchClosed():
            return ()
        case _:
            assert_never(fact)


AGENTS = Table(name="agents", version=2, room="agents", category="agents", row=Agent, evolve=evolve)
AGENT_VERSIONS = Series(name="agent_versions", version=2, room="agents", category="agents", row=AgentVersion, entries=entries)
