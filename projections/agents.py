"""Who speaks for a business: agents, and every version of them that ever went live."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.agents import AgentCreated, AgentEvent, AgentVersionPublished
from events.recorded import Recorded
from projections.series import Series
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A version that went live. `configuration` is JSON as its owner gave it, in canonical form."""

    label: str
    version_hash: str
    configuration: str
    published_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent and the version that answers now; None before the first was published. `versions` counts them."""

    tenant: str
    id: str
    version: int
    name: str
    created_at: datetime
    versions: int = 0
    live: Published | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersion:
    """An immutable version, in the order of publishing."""

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    label: str
    version_hash: str
    configuration: str
    actor: str


def evolve(row: Agent | None, recorded: Recorded[AgentEvent]) -> Agent:
    match recorded.fact:
        case AgentCreated(name=name):
            stream = recorded.stream
            return Agent(tenant=stream.tenant, id=stream.id, version=recorded.version, name=name, created_at=recorded.occurred_at)
        case AgentVersionPublished(version_hash=version_hash, label=label, configuration=configuration):
            if row is None:
                raise BrokenHistory(f"{recorded.stream} has a version before it was created")
            live = Published(
                label=label, version_hash=version_hash, configuration=configuration, published_at=recorded.occurred_at
            )  # fmt: skip
            return replace(row, live=live, versions=row.versions + 1)
        case _:
            assert_never(recorded.fact)


def entries(recorded: Recorded[AgentEvent]) -> Sequence[AgentVersion]:
    match recorded.fact:
        case AgentVersionPublished(version_hash=version_hash, label=label, configuration=configuration):
            stream = recorded.stream
            return (
                AgentVersion(
                    tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, label=label,
                    version_hash=version_hash, configuration=configuration, actor=recorded.actor,
                ),
            )  # fmt: skip
        case AgentCreated():
            return ()
        case _:
            assert_never(recorded.fact)


AGENTS = Table(name="agents", version=1, room="agents", category="agents", row=Agent, evolve=evolve)
AGENT_VERSIONS = Series(name="agent_versions", version=1, room="agents", category="agents", row=AgentVersion, entries=entries)
