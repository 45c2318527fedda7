"""Routes of webhooks: addresses of a business to which its events are sent, signed, at least once, in order within each stream."""

import base64
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, StringConstraints

from api.auth import AnyCaller, Caller, Organisation
from api.past import moment
from api.ports import Ports
from api.positions import Read
from api.preconditions import tag
from api.problems import INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED, SCOPE_MISSING, At, Problem, answers
from api.scopes import allows
from api.wire import Accepted, Cursor, Limit, Page, Paragraphs, Time, Wire, Wired, found, page_of, proper_id
from api.writing import Write
from commands.webhooks import (
    WEBHOOKS,
    AddWebhook,
    ChangeWebhook,
    DisableWebhook,
    EnableWebhook,
    PingWebhook,
    RemoveWebhook,
    RewindWebhook,
    RotateWebhookSecret,
    WebhookExists,
    WebhookOff,
)
from events.streams import StreamId
from projections import webhooks as rows

router = APIRouter(prefix="/webhooks", tags=["webhooks"])
_ID = "webhook_"
_SECRET_BYTES = 32
_EVENTS = "events:read"
_FAILURES = (
    "`refused`", "`redirected`", "`timeout`", "`unreachable`", "`private-address`", "`certificate`", "`broken-answer`", "`bad-address`",
)  # fmt: skip


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username is not None or parts.fragment:
        raise ValueError("must be an https address with a host, without a user or a fragment")
    if not text.isascii() or any(character <= " " or character in '"<>\\^`{|}\x7f' for character in text):
        raise ValueError("must be written in the characters that addresses have")
    _ = parts.port
    return text


Address = Annotated[
    str, StringConstraints(max_length=2000), AfterValidator(_address),
    Field(
        examples=["https://example.com/aybiza"],
        description="Where events are posted: by https, to a host that resolves to public addresses; redirections are not followed.",
    ),
]  # fmt: skip
Types = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,80}(\.v[0-9]{1,4})?$")], ...],
    Field(max_length=50, description="Only these, such as `call-ended` or `consent-granted.v1`. None: all."),
]
WebhookId = Annotated[str, Path(description="`webhook_…`")]


class NewWebhook(Wire):
    url: Address
    types: Types = ()
    description: Paragraphs = ""


class WebhookChange(Wire):
    """What is left out stays as it is."""

    url: Address | None = None
    types: Types | None = None
    description: Paragraphs | None = None


class Webhook(Wire):
    """`failures` counts the attempts at the next event that came to nothing, since `failing_since`; what follows it waits."""

    id: str
    url: str
    types: tuple[str, ...]
    description: str
    enabled: bool
    disabled_because: Annotated[str | None, Field(description="`asked`; `gone`: it answered 410; `failing`: for too long.")] = None
    added_at: Time
    old_secret_until: Time | None = None
    delivered: int
    delivered_at: Time | None = None
    failures: int
    failing_since: Time | None = None


class Secret(Wire):
    """By which messages are signed, as the library `standardwebhooks` takes it. It is in this answer and nowhere else."""

    id: str
    secret: str


class SecretRotation(Wire):
    """For so long messages carry two signatures: by the new secret, and by the one before."""

    overlap_seconds: Annotated[int, Field(ge=0, le=7 * 86_400)] = 86_400


class Redelivery(Wire):
    """Everything that was appended since then is sent again, in order, under the same `webhook-id`."""

    since: Annotated[str, Field(max_length=300, description="A time (RFC 3339), or the position of an event (`aybizaposition`).")]


class DeliveryAttempt(Wire):
    """One sending of one event. `status` is null where nobody answered."""

    event: str
    at: Time
    took_ms: int
    status: int | None
    failure: Annotated[str | None, Field(description=f"Null where it was taken, else one of {', '.join(_FAILURES)}.")]


@router.post("", status_code=201, responses=answers(INVALID_REQUEST, WebhookExists, PRECONDITION_FAILED))
async def add_webhook(body: NewWebhook, who: AnyCaller, organisation: Organisation, ports: Wired, write: Write) -> Secret:
    """Have events sent to an address from now on. The answer has the secret by which they are signed."""
    _must_hear(who)
    await _must_be_callable(body.url, ports)
    webhook_id = write.intent.fresh_id(_ID)
    secret, box = _secret(ports, organisation, write.intent.seed)
    await write(
        WEBHOOKS, _stream(organisation, webhook_id), AddWebhook(url=body.url, types=body.types, description=body.description, secret=box)
    )
    write.created_at(f"/v1/webhooks/{webhook_id}")
    return Secret(id=webhook_id, secret=secret)


@router.get("")
async def list_webhooks(organisation: Organisation, read: Read, limit: Limit = 20, cursor: Cursor = None) -> Page[Webhook]:
    """The organisation's webhooks, newest first, but for those made with an `Idempotency-Key`: these stand by their ids."""
    found_rows, after = await read.page(rows.WEBHOOKS, organisation, limit=limit, cursor=cursor)
    return page_of([_view(row) for row in found_rows], after)


@router.get("/{webhook_id}", responses=answers(NOT_FOUND))
async def get_webhook(webhook_id: WebhookId, organisation: Organisation, read: Read, response: Response) -> Webhook:
    """One webhook."""
    row = found(await read.row(rows.WEBHOOKS, _stream(organisation, webhook_id)), "webhook")
    tag(response, row.version)
    return _view(row)


@router.patch("/{webhook_id}", responses=answers(INVALID_REQUEST, NOT_FOUND, PRECONDITION_FAILED))
async def change_webhook(
    webhook_id: WebhookId, body: WebhookChange, who: AnyCaller, organisation: Organisation, ports: Wired, write: Write
) -> Accepted:
    """Send to another address, on from what the log has as sent; or other types of events, as they happen from now on."""
    _must_hear(who)
    if body.url is not None:
        await _must_be_callable(body.url, ports)
    command = ChangeWebhook(url=body.url, types=body.types, description=body.description)
    return Accepted(position=str((await write(WEBHOOKS, _stream(organisation, webhook_id), command)).position))


@router.delete("/{webhook_id}", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def remove_webhook(webhook_id: WebhookId, organisation: Organisation, write: Write) -> Accepted:
    """Send nothing more to it, and forget it."""
    return Accepted(position=str((await write(WEBHOOKS, _stream(organisation, webhook_id), RemoveWebhook())).position))


@router.post("/{webhook_id}/rotate", status_code=201, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def rotate_webhook_secret(
    webhook_id: WebhookId, body: SecretRotation, who: AnyCaller, organisation: Organisation, ports: Wired, write: Write
) -> Secret:
    """Give it another secret. For a while messages carry signatures by both."""
    _must_hear(who)
    secret, box = _secret(ports, organisation, write.intent.seed)
    command = RotateWebhookSecret(secret=box, old_until=write.now + timedelta(seconds=body.overlap_seconds))
    await write(WEBHOOKS, _stream(organisation, webhook_id), command)
    write.created_at(f"/v1/webhooks/{webhook_id}")
    return Secret(id=webhook_id, secret=secret)


@router.post("/{webhook_id}/enable", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def enable_webhook(webhook_id: WebhookId, organisation: Organisation, write: Write) -> Accepted:
    """Send again, on from where it stopped: what happened meanwhile is sent first. To leave that out, redeliver since now."""
    return Accepted(position=str((await write(WEBHOOKS, _stream(organisation, webhook_id), EnableWebhook())).position))


@router.post("/{webhook_id}/disable", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def disable_webhook(webhook_id: WebhookId, organisation: Organisation, write: Write) -> Accepted:
    """Send nothing for now. Where it stopped is kept."""
    command = DisableWebhook(because="asked")
    return Accepted(position=str((await write(WEBHOOKS, _stream(organisation, webhook_id), command)).position))


@router.post("/{webhook_id}/ping", status_code=202, responses=answers(NOT_FOUND, WebhookOff, PRECONDITION_FAILED))
async def ping_webhook(webhook_id: WebhookId, organisation: Organisation, write: Write) -> Accepted:
    """Send one event of the type `webhook-ping-asked`, behind whatever is to be sent before it."""
    command = PingWebhook(ping=write.intent.command_id("ping").hex())
    return Accepted(position=str((await write(WEBHOOKS, _stream(organisation, webhook_id), command)).position))


@router.post("/{webhook_id}/redeliveries", status_code=202, responses=answers(NOT_FOUND, PRECONDITION_FAILED))
async def redeliver_events(
    webhook_id: WebhookId, body: Redelivery, who: AnyCaller, organisation: Organisation, ports: Wired, write: Write
) -> Accepted:
    """Send everything again from a time or a position on; what is new follows behind it. Since now: what waits is left out."""
    _must_hear(who)
    stream = _stream(organisation, webhook_id)
    since = await moment(body.since, ports)
    if since is None or since > ports.clock() + timedelta(seconds=5):
        detail = "It is neither a time that has passed, such as 2026-11-21T10:00:00Z, nor a position that an event had."
        raise Problem(INVALID_REQUEST, detail, errors=[At(pointer="#/since", detail=detail)])
    command = RewindWebhook(order=write.intent.command_id("rewind").hex(), since=since)
    return Accepted(position=str((await write(WEBHOOKS, stream, command)).position))


@router.get("/{webhook_id}/attempts", responses=answers(NOT_FOUND))
async def list_webhook_attempts(webhook_id: WebhookId, organisation: Organisation, read: Read) -> Page[DeliveryAttempt]:
    """What became of the latest attempts, newest first; a success is seen here some seconds later, a failure at once."""
    row = found(await read.row(rows.WEBHOOKS, _stream(organisation, webhook_id)), "webhook")
    shown = [
        DeliveryAttempt(event=each.event, at=each.at, took_ms=each.took_ms, status=each.status, failure=each.failure or None)
        for each in reversed(row.attempts)
    ]
    return page_of(shown, None)


def _must_hear(who: Caller) -> None:
    """Whoever has events sent somewhere hears them. Raises Problem."""
    if not allows(who.scopes, _EVENTS):
        raise Problem(SCOPE_MISSING, f"The key lacks the scope {_EVENTS}: it would hear what it may not read.", needed=_EVENTS)


async def _must_be_callable(url: str, ports: Ports) -> None:
    """Told at once, so that nobody waits for what never comes; each sending looks again, for a name may lead elsewhere by then."""
    if ports.webhooks_private:
        return
    if not url.startswith("https:"):
        detail = "must begin with https: events have personal words in them"
    else:
        detail = await ports.webhook_addresses.refused(urlsplit(url).hostname or "")
    if detail:
        raise Problem(INVALID_REQUEST, f"The address {detail}.", errors=[At(pointer="#/url", detail=detail)])


def _secret(ports: Ports, organisation: str, seed: bytes) -> tuple[str, bytes]:
    """A secret that follows from the seed, so that a repeated request gets the same answer; and the same, sealed."""
    drawn = "".join(ports.keyring.reference(organisation, f"webhook {part} {seed.hex()}") for part in ("secret", "more"))
    secret = "whsec_" + base64.b64encode(bytes.fromhex(drawn)[:_SECRET_BYTES]).decode()
    return secret, ports.keyring.seal_bytes(organisation, secret.encode())


def _stream(organisation: str, webhook_id: str) -> StreamId:
    return StreamId(organisation, "webhooks", proper_id(webhook_id, _ID, "webhook"))


def _view(row: rows.Webhook) -> Webhook:
    return Webhook(
        id=row.id, url=row.url, types=row.types, description=row.description, enabled=row.enabled,
        disabled_because=row.disabled_because or None, added_at=row.added_at, old_secret_until=row.old_secret_until,
        delivered=row.delivered, delivered_at=row.delivered_at, failures=row.failures, failing_since=row.failing_since,
    )  # fmt: skip
