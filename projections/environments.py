"""Environments as they stand: which version of which agent answers there, and every pin there ever was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.environments import AgentPinned, AgentUnpinned, EnvironmentClosed, EnvironmentEvent, EnvironmentOpened
from events.recorded import Recorded
from projections.series import Series
from projections.table import BrokenHistory, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A version that answers here, whatever is live."""

    agent_id: str
    version_hash: str
    label: str
    pinned_at: datetime
    pinned_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment by its name (`id`). A closed one has no row."""

    tenant: str
    id: str
    version: int
    description: str
    opened_at: datetime
    pins: tuple[Pinned, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentPin:
    """A pin as it was set; without a version where it was taken away."""

    tenant: str
    id: str
    version: int
    n: int
    occurred_at: datetime
    agent_id: str
    actor: str
    version_hash: str | None = None
    label: str | None = None
    configuration: str | None = None


def evolve(row: Environment | None, recorded: Recorded[EnvironmentEvent]) -> Environment | None:
    fact, at, stream = recorded.fact, recorded.occurred_at, recorded.stream
    if isinstance(fact, EnvironmentOpened):
        fresh = Environment(tenant=stream.tenant, id=stream.id, version=recorded.version, description="", opened_at=at)
        return replace(row or fresh, description=fact.description)
    if row is None:
        raise BrokenHistory(f"{stream} has facts before it was opened")
    match fact:
        case AgentPinned(agent_id=agent_id, version_hash=version_hash, label=label):
            pin = Pinned(agent_id=agent_id, version_hash=version_hash, label=label, pinned_at=at, pinned_by=recorded.actor)
            return replace(row, pins=(*(each for each in row.pins if each.agent_id != agent_id), pin))
        case AgentUnpinned(agent_id=agent_id):
            return replace(row, pins=tuple(each for each in row.pins if each.agent_id != agent_id))
        case EnvironmentClosed():
            return None
        case _:
            assert_never(fact)


def entries(recorded: Recorded[EnvironmentEvent]) -> Sequence[EnvironmentPin]:
    fact, stream = recorded.fact, recorded.stream
    match fact:
        case AgentPinned(agent_id=agent_id, version_hash=version_hash, label=label, configuration=configuration):
            return (
                EnvironmentPin(
                    tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, agent_id=agent_id,
                    actor=recorded.actor, version_hash=version_hash, label=label, configuration=configuration,
                ),
            )  # fmt: skip
        case AgentUnpinned(agent_id=agent_id):
            return (
                EnvironmentPin(
                    tenant=stream.tenant, id=stream.id, version=recorded.version, n=0, occurred_at=recorded.occurred_at, agent_id=agent_id,
                    actor=recorded.actor,
                ),
            )  # fmt: skip
        case EnvironmentOpened() | EnvironmentClosed():
            return ()
        case _:
            assert_never(fact)


ENVIRONMENTS = Table(name="environments", version=1, room="environments", category="environments", row=Environment, evolve=evolve)
ENVIRONMENT_PINS = Series(
    name="environment_pins", version=1, room="environments", category="environments", row=EnvironmentPin, entries=entries
)  # fmt: skip
