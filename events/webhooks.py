"""Facts about addresses to which a business has its events sent."""

from dataclasses import dataclass
from datetime import datetime

from events.registry import event


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One sending of one event. `failure` is empty where it was taken; `status` is None where nobody answered."""

    event: str
    at: datetime
    took_ms: int
    status: int | None = None
    failure: str = ""


@event("webhook-added", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAdded:
    """Events of these types (none: all) are sent to the address from now on. `secret` is sealed under the organisation's key."""

    url: str
    types: tuple[str, ...]
    description: str
    secret: bytes


@event("webhook-changed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChanged:
    """Events go to this address, and are of these types, from now on."""

    url: str
    types: tuple[str, ...]
    description: str


@event("webhook-secret-rotated", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSecretRotated:
    """Messages are signed with this secret, and until then with the one before as well."""

    secret: bytes
    old_until: datetime


@event("webhook-enabled", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEnabled:
    """Events are sent again, on from where it stopped."""


@event("webhook-disabled", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDisabled:
    """Nothing is sent any more. `because`: `asked`, `gone` (the address said so), or `failing` for too long."""

    because: str


@event("webhook-removed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRemoved:
    """The address is none of the organisation's any more."""


@event("webhook-ping-asked", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPingAsked:
    """This very fact is sent to the address, whatever types were asked for, to see whether it is taken."""

    ping: str


@event("webhook-rewound", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRewound:
    """Everything that was appended since then is sent again, in order, under the names that it had."""

    order: str
    since: datetime


@event("webhook-deliveries-made", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDeliveriesMade:
    """What became of a stretch of events: `delivered` of them were taken, and the next stand behind `after` (empty: where they stood).

    `failures` counts the attempts at the next event that came to nothing, since `failing_since`; 0: it is not being refused.
    """

    after: str
    delivered: int
    failures: int
    failing_since: datetime | None
    attempts: tuple[Attempt, ...]


WebhookEvent = (
    WebhookAdded
    | WebhookChanged
    | WebhookSecretRotated
    | WebhookEnabled
    | WebhookDisabled
    | WebhookRemoved
    | WebhookPingAsked
    | WebhookRewound
    | WebhookDeliveriesMade
)
