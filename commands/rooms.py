"""All deciders by the category of their streams. A new room adds its line."""

from collections.abc import Mapping
from typing import Any

from commands.agents import AGENTS
from commands.calls.deciding import CALL_SIDS, CALLS
from commands.consents import CONSENTS
from commands.credentials import CLIENTS, CREDENTIAL_USES
from commands.decider import Decider
from commands.environments import ENVIRONMENTS
from commands.flags import FLAGS
from commands.memberships import INVITATIONS, MEMBERSHIPS, OWNERS, ROLES
from commands.numbers import NUMBERS
from commands.operations import OPERATIONS
from commands.organisations import ORGANISATIONS
from commands.people import EMAILS, PEOPLE, SESSIONS
from commands.upkeep import UPKEEP
from commands.usage import USAGE
from commands.webhooks import WEBHOOKS

DECIDERS: Mapping[str, Decider[Any, Any, Any]] = {
    decider.category: decider
    for decider in (
        AGENTS,
        CALLS,
        CALL_SIDS,
        CLIENTS,
        CONSENTS,
        CREDENTIAL_USES,
        EMAILS,
        ENVIRONMENTS,
        FLAGS,
        INVITATIONS,
        MEMBERSHIPS,
        NUMBERS,
        OPERATIONS,
        ORGANISATIONS,
        OWNERS,
        PEOPLE,
        ROLES,
        SESSIONS,
        UPKEEP,
        USAGE,
        WEBHOOKS,
    )
}
