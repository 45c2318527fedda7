"""Decides about addresses to which a business has its events sent: who is told, from where on, and who may say how far they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
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

_ORDERS_KNOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AddWebhook:
    """`secret` is sealed."""

    url: str
    types: tuple[str, ...]
    description: str
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeWebhook:
    """What is None stays as it is."""

    url: str | None = None
    types: tuple[str, ...] | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateWebhookSecret:
    secret: bytes
    old_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnableWebhook:
    """Send again, on from where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisableWebhook:
    """`turn` is given by whoever sends: what they give up may have been taken up anew meanwhile."""

    because: str
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveWebhook:
    """Forget the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PingWebhook:
    """The same ping is sent once."""

    ping: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindWebhook:
    """Send again what was appended since then. The same order given twice is given once."""

    order: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeliveries:
    """As in `WebhookDeliveriesMade`, by who has seen `turn` turns."""

    turn: int
    after: str
    delivered: int
    failures: int
    failing_since: datetime | None
    attempts: tuple[Attempt, ...]


WebhookCommand: TypeAlias = (
    AddWebhook | ChangeWebhook | RotateWebhookSecret | EnableWebhook | DisableWebhook | RemoveWebhook | PingWebhook | RewindWebhook
    | RecordDeliveries
)  # fmt: skip


class WebhookExists(CommandRefused):
    """A webhook is added once; changes are changes of it."""

    code = "webhook-exists"


class WebhookOff(CommandRefused):
    """Nothing is sent to an address that is disabled; enable it first."""

    code = "webhook-disabled"


class OutOfTurn(CommandRefused):
    """Somebody else sends to this address now, or from another place."""

    code = "webhook-out-of-turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address. `after` is the place behind which the next events stand; empty: those since `since`; None: since it was added.

    `turn` is raised by everything after which somebody who has not seen it must not say how far they are.
    """

    url: str
    types: tuple[str, ...]
    description: str
    secret: bytes
    old_secret: bytes | None = None
    old_until: datetime | None = None
    enabled: bool = True
    removed: bool = False
    after: str = ""
    since: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    turn: int = 0
    orders: tuple[str, ...] = ()


def decide(command: WebhookCommand, webhook: Webhook | None) -> Sequence[WebhookEvent]:
    if isinstance(command, AddWebhook):
        return _add(command, webhook)
    if webhook is None or webhook.removed:
        raise NotFound("no such webhook; check its id")
    match command:
        case ChangeWebhook():
            changed = WebhookChanged(
                url=webhook.url if command.url is None else command.url,
                types=webhook.types if command.types is None else command.types,
                description=webhook.description if command.description is None else command.description,
            )
            same = (changed.url, changed.types, changed.description) == (webhook.url, webhook.types, webhook.description)
            return () if same else (changed,)
        case RotateWebhookSecret(secret=secret, old_until=until):
            return () if secret == webhook.secret else (WebhookSecretRotated(secret=secret, old_until=until),)
        case EnableWebhook():
            return () if webhook.enabled else (WebhookEnabled(),)
        case DisableWebhook(because=because, turn=turn):
            _must_be_in_turn(turn, webhook)
            return (WebhookDisabled(because=because),) if webhook.enabled else ()
        case RemoveWebhook():
            return (WebhookRemoved(),)
        case PingWebhook(ping=ping):
            if not webhook.enabled:
                raise WebhookOff("the webhook is disabled; enable it, then ping it")
            return () if ping in webhook.orders else (WebhookPingAsked(ping=ping),)
        case RewindWebhook(order=order, since=since):
            return () if order in webhook.orders else (WebhookRewound(order=order, since=since),)
        case RecordDeliveries():
            return _record(command, webhook)
        case _:
            assert_never(command)


def _add(command: AddWebhook, webhook: Webhook | None) -> Sequence[WebhookEvent]:
    added = WebhookAdded(url=command.url, types=command.types, description=command.description, secret=command.secret)
    if webhook is None:
        return (added,)
    if webhook.removed or (webhook.url, webhook.types, webhook.secret) != (added.url, added.types, added.secret):
        raise WebhookExists("a webhook was added under this id; change that one, or add another under a new id")
    return ()


def _record(command: RecordDeliveries, webhook: Webhook) -> Sequence[WebhookEvent]:
    _must_be_in_turn(command.turn, webhook)
    if not webhook.enabled:
        raise OutOfTurn("the webhook was disabled; nothing is sent to it any more")
    if not command.attempts and command.after in ("", webhook.after):
        return ()
    return (
        WebhookDeliveriesMade(
            after=command.after, delivered=command.delivered, failures=command.failures, failing_since=command.failing_since,
            attempts=command.attempts,
        ),
    )  # fmt: skip


def _must_be_in_turn(turn: int | None, webhook: Webhook) -> None:
    if turn is not None and turn != webhook.turn:
        raise OutOfTurn(f"the webhook is at turn {webhook.turn}, not {turn}; go on from where it stands")


def evolve(webhook: Webhook | None, fact: WebhookEvent) -> Webhook | None:
    if isinstance(fact, WebhookAdded):
        return Webhook(url=fact.url, types=fact.types, description=fact.description, secret=fact.secret)
    if webhook is None:
        return None
    match fact:
        case WebhookChanged(url=url, types=types, description=description):
            # Who has not seen it may have told another address, or passed over what is wanted by now.
            turn = webhook.turn + ((url, types) != (webhook.url, webhook.types))
            return replace(webhook, url=url, types=types, description=description, turn=turn)
        case WebhookSecretRotated(secret=secret, old_until=until):
            return replace(webhook, secret=secret, old_secret=webhook.secret, old_until=until)
        case WebhookEnabled():
            return replace(webhook, enabled=True, failures=0, failing_since=None, turn=webhook.turn + 1)
        case WebhookDisabled():
            return replace(webhook, enabled=False, turn=webhook.turn + 1)
        case WebhookRemoved():
            return replace(webhook, enabled=False, removed=True, turn=webhook.turn + 1)
        case WebhookPingAsked(ping=ping):
            return replace(webhook, orders=_noted(webhook, ping))
        case WebhookRewound(order=order, since=since):
            return replace(
                webhook, after="", since=since, failures=0, failing_since=None, turn=webhook.turn + 1, orders=_noted(webhook, order)
            )
        case WebhookDeliveriesMade(after=after, failures=failures, failing_since=failing_since):
            return replace(webhook, after=after or webhook.after, failures=failures, failing_since=failing_since, turn=webhook.turn + 1)
        case _:
            assert_never(fact)


def _noted(webhook: Webhook, order: str) -> tuple[str, ...]:
    return (*webhook.orders, order)[-_ORDERS_KNOWN:]


WEBHOOKS: Decider[WebhookCommand, Webhook | None, WebhookEvent] = Decider(
    room="webhooks", category="webhooks", initial=None, decide=decide, evolve=evolve
)
