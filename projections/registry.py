"""Every projection there is, checked together. Imports every room, for the registry's sake."""

from collections.abc import Iterable
from typing import Any

from projections.agents import AGENT_VERSIONS, AGENTS
from projections.calls import CALL_TIMELINE, CALLS, LIVE_CALLS
from projections.consents import CALLER_PERMISSIONS
from projections.credentials import CLIENTS, CREDENTIAL_USES
from projections.environments import ENVIRONMENT_PINS, ENVIRONMENTS
from projections.flags import FLAGS
from projections.journal import JOURNAL
from projections.live import Live
from projections.measures import CALL_MEASURES, TURN_MEASURES, USAGE_MEASURES
from projections.memberships import INVITATIONS, MEMBERSHIPS, ROLES
from projections.numbers import NUMBERS
from projections.operations import OPERATIONS
from projections.organisations import ORGANISATIONS
from projections.partial import PartialAggregate
from projections.people import PEOPLE, SESSIONS
from projections.ports import Projection
from projections.series import Series
from projections.summaries import CALL_SUMMARIES
from projections.table import BadShape, Table
from projections.upkeep import UPKEEP_ORDERS
from projections.usage import CALL_USAGE
from projections.webhooks import WEBHOOKS

TABLES: tuple[Table[Any], ...] = (
    ORGANISATIONS,
    AGENTS,
    NUMBERS,
    CALLER_PERMISSIONS,
    CALLS,
    CALL_USAGE,
    FLAGS,
    ENVIRONMENTS,
    OPERATIONS,
    WEBHOOKS,
    PEOPLE,
    SESSIONS,
    MEMBERSHIPS,
    INVITATIONS,
    ROLES,
    CLIENTS,
    CREDENTIAL_USES,
)
SERIES: tuple[Series[Any], ...] = (
    AGENT_VERSIONS, CALL_TIMELINE, UPKEEP_ORDERS, ENVIRONMENT_PINS, TURN_MEASURES, CALL_MEASURES, USAGE_MEASURES,
)  # fmt: skip
PARTIAL: tuple[PartialAggregate[Any, Any], ...] = (CALL_SUMMARIES,)
STORED: tuple[Projection, ...] = (JOURNAL, *TABLES, *SERIES, *PARTIAL)
"""All that is kept in the database."""
EARLIER: tuple[Projection, ...] = ()
"""Versions that have a successor above and are folded beside it, so that one can go back to them, until their builds are dropped."""
LIVE: tuple[Live[Any], ...] = (LIVE_CALLS,)


def check_names(projections: Iterable[Projection | Live[Any]]) -> None:
    """Raises BadShape when two have one name: the second would take the first one's checkpoint for its own."""
    seen: set[str] = set()
    for projection in projections:
        if projection.name in seen:
            raise BadShape(f"there are two projections named {projection.name}")
        seen.add(projection.name)


check_names((*STORED, *LIVE))
