"""Sends webhooks as Standard Webhooks has it: signed, named, to public addresses only, without following anybody elsewhere."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from standardwebhooks import Webhook

from infra.adapters.public_addresses import AddressRefused, PublicResolver, is_public
from stream_processors.webhooks.ports import Answer, Message

_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_MOST_CONNECTIONS = 512
_MOST_TO_ONE = 16
# Nobody reads an answer's body; a short one is taken off the line so that the connection can be used again.
_SHORT_BYTES = 16 * 1024
_GONE = 410


class WebhookPost:
    """`stream_processors.webhooks.ports.Post`. `private`: whether addresses of one's own network are called too."""

    def __init__(self, session: aiohttp.ClientSession, now: Callable[[], datetime], seconds: float, *, private: bool) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=min(seconds, _CONNECT_SECONDS))
        self._now = now
        self._private = private

    async def __call__(self, url: str, message: Message) -> Answer:
        begun = time.monotonic()
        try:
            return await self._sent(url, message, begun)
        except AddressRefused:
            return Answer(took_ms=_since(begun), failure="private-address")
        except aiohttp.ClientConnectorError as cause:
            refused = isinstance(cause.os_error, AddressRefused)
            return Answer(took_ms=_since(begun), failure="private-address" if refused else "unreachable")
        except TimeoutError:
            return Answer(took_ms=_since(begun), failure="timeout")
        except (aiohttp.ClientError, OSError, ValueError) as cause:
            return Answer(took_ms=_since(begun), failure=_failure(cause))

    async def _sent(self, url: str, message: Message, begun: float) -> Answer:
        host = urlsplit(url).hostname or ""
        # A literal address is not asked of any resolver.
        if not self._private and (host.endswith(".localhost") or (_is_literal(host) and not is_public(host))):
            raise AddressRefused(host)
        headers = _signed(message, self._now().astimezone(UTC))
        async with self._session.post(url, data=message.body, headers=headers, allow_redirects=False, timeout=self._timeout) as answer:
            if answer.content_length is not None and answer.content_length <= _SHORT_BYTES:
                await answer.read()
            status = answer.status
            failure = "" if 200 <= status < 300 else "redirected" if 300 <= status < 400 else "refused"
            return Answer(
                took_ms=_since(begun), status=status, failure=failure, gone=status == _GONE,
                wait_seconds=_seconds(answer.headers.get("Retry-After", "")),
            )  # fmt: skip


@asynccontextmanager
async def opened_post(
    now: Callable[[], datetime], *, private: bool = False, resolver: AbstractResolver | None = None, seconds: float = _SECONDS
) -> AsyncIterator[WebhookPost]:
    """For as long as the block lasts. `resolver`: who says what a name leads to, if not this machine; `seconds`: for one message, whole."""
    looked_up = resolver if private else PublicResolver(resolver)
    connector = aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, limit_per_host=_MOST_TO_ONE, resolver=looked_up, use_dns_cache=False)
    headers = {"User-Agent": "aybiza-webhooks/1", "Content-Type": "application/cloudevents+json", "Accept": "*/*"}
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=jar, auto_decompress=False) as session:
        yield WebhookPost(session, now, seconds, private=private)


def _signed(message: Message, at: datetime) -> dict[str, str]:
    text = message.body.decode()
    return {
        "webhook-id": message.name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message.name, at, text) for secret in message.secrets),
    }


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit() or host.startswith("0x")


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0


def _failure(cause: Exception) -> str:
    match cause:
        case aiohttp.ClientSSLError():
            return "certificate"
        case aiohttp.InvalidURL() | ValueError():
            return "bad-address"
        case asyncio.IncompleteReadError() | aiohttp.ClientError():
            return "broken-answer"
        case _:
            return "unreachable"


def _since(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
