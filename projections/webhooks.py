"""Addresses to which a business has its events sent, as they stand, with what became of the last attempts."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.recorded import Recorded
from events.webhooks import (
    Attempt,
    WebhookAdded,
    WebhookChanged,
    WebhookDeliveriesMade,
    WebhookDisabled,
    WebhookEnabled,
    WebhookEvent,
    WebhookPingAsked,
    WebhookRemoved,
    WebhookRewound,
    WebhookSecretRotated,
)
from projections.table import BrokenHistory, Table

ATTEMPTS_KEPT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """`disabled_because` is empty while events are sent. `attempts` are the latest, oldest first. A removed one has no row."""

    tenant: str
    id: str
    version: int
    url: str
    types: tuple[str, ...]
    description: str
    added_at: datetime
    enabled: bool = True
    disabled_because: str = ""
    old_secret_until: datetime | None = None
    rewound_to: datetime | None = None
    delivered: int = 0
    delivered_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    attempts: tuple[Attempt, ...] = ()


def evolve(row: Webhook | None, recorded: Recorded[WebhookEvent]) -> Webhook | None:
    fact = recorded.fact
    if isinstance(fact, WebhookAdded):
        stream = recorded.stream
        return Webhook(
            tenant=stream.tenant, id=stream.id, version=recorded.version, url=fact.url, types=fact.types, description=fact.description,
            added_at=recorded.occurred_at,
        )  # fmt: skip
    if row is None:
        raise BrokenHistory(f"{recorded.stream} has facts before it was added")
    match fact:
        case WebhookChanged(url=url, types=types, description=description):
            return replace(row, url=url, types=types, description=description)
        case WebhookSecretRotated(old_until=until):
            return replace(row, old_secret_until=until)
        case WebhookEnabled():
            return replace(row, enabled=True, disabled_because="", failures=0, failing_since=None)
        case WebhookDisabled(because=because):
            return replace(row, enabled=False, disabled_because=because)
        case WebhookRemoved():
            return None
        case WebhookPingAsked():
            return row
        case WebhookRewound(since=since):
            return replace(row, rewound_to=since, failures=0, failing_since=None)
        case WebhookDeliveriesMade(delivered=delivered, attempts=attempts):
            taken = [each.at for each in attempts if not each.failure]
            return replace(
                row, delivered=row.delivered + delivered, delivered_at=taken[-1] if taken else row.delivered_at,
                failures=fact.failures, failing_since=fact.failing_since, attempts=(*row.attempts, *attempts)[-ATTEMPTS_KEPT:],
            )  # fmt: skip
        case _:
            assert_never(fact)


WEBHOOKS = Table(name="webhooks", version=1, room="webhooks", category="webhooks", row=Webhook, evolve=evolve)
