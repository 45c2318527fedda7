"""Where webhooks may go: to public addresses, as they were looked at, and nowhere else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from infra.adapters.public_addresses import LookedUp, is_public
from infra.adapters.webhook_post import WebhookPost, opened_post
from stream_processors.webhooks.ports import Message
from tests.stream_processors.receiving import Receiver, receiver

MESSAGE = Message(name="e-0", body=b'{"subject": "x"}', secrets=("whsec_c2VjcmV0c2VjcmV0c2VjcmV0",))
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]
PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "0.1.2.3", "198.18.0.1", "::1", "::", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1", "nonsense",
]  # fmt: skip


class Names(AbstractResolver):
    """Names that lead where a test says, each time somewhere else."""

    def __init__(self, *addresses: list[str]) -> None:
        self.answers = list(addresses)

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = self.answers.pop(0)
        return [ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0) for each in found]

    async def close(self) -> None:
        return None


@pytest_asyncio.fixture
async def receiving() -> AsyncIterator[Receiver]:
    async with receiver() as each:
        yield each


def now() -> datetime:
    return datetime.now(UTC)


class TestAddresses:
    @pytest.mark.parametrize("text", PUBLIC)
    def test_of_everybody_are_public(self, text: str) -> None:
        assert is_public(text)

    @pytest.mark.parametrize("text", PRIVATE)
    def test_of_ours_are_not_in_any_spelling(self, text: str) -> None:
        assert not is_public(text)

    async def test_are_looked_up_in_words_for_whoever_gives_them(self) -> None:
        said = [await LookedUp(Names(each)).refused("example.com") for each in (PUBLIC, [PUBLIC[0], "10.0.0.1"], [])]
        assert said[0] == ""
        assert "private" in said[1]
        assert "does not resolve" in said[2]
        # The machine's own names, without asking anybody else.
        assert "private" in await LookedUp().refused("localhost")
        assert "does not resolve" in await LookedUp().refused("a" * 70)


class TestWebhookPost:
    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"]
    )
    async def test_reaches_nobody_inside(self, receiving: Receiver, host: str) -> None:
        url = receiving.url.replace("127.0.0.1", host)
        async with opened_post(now) as post:
            assert (await post(url, MESSAGE)).failure in {"private-address", "bad-address", "unreachable"}
        assert receiving.asked == []

    async def test_looks_at_the_very_address_that_it_connects_to(self, receiving: Receiver) -> None:
        url = receiving.url.replace("127.0.0.1", "rebinding.example")
        # One public address does not make the other one so, and a second look is not taken.
        names = Names(["93.184.216.34", "127.0.0.1"], ["127.0.0.1"])
        async with opened_post(now, resolver=names) as post:
            assert (await post(url, MESSAGE)).failure == "private-address"
            assert (await post(url, MESSAGE)).failure == "private-address"
        assert receiving.asked == []
        # The same names are no hindrance where it is allowed: it was the address that was refused.
        async with opened_post(now, private=True, resolver=Names(["127.0.0.1"])) as post:
            assert (await post(url, MESSAGE)).failure == ""
        assert len(receiving.asked) == 1

    async def test_follows_nobody_elsewhere(self, receiving: Receiver) -> None:
        async def redirects(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            return web.Response(status=307, headers={"Location": receiving.url})

        receiving.behaves = redirects
        async with opened_post(now, private=True) as post:
            answer = await post(receiving.url, MESSAGE)
        assert (answer.status, answer.failure) == (307, "redirected")
        assert len(receiving.asked) == 1

    async def test_bounds_what_it_waits_for_and_reads(self, receiving: Receiver) -> None:
        async def hangs(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            await asyncio.Event().wait()
            raise AssertionError

        async def pours(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            return web.Response(status=200, body=b"x" * (8 << 20))

        async with opened_post(now, private=True, seconds=0.2) as post:
            receiving.behaves = pours
            assert (await post(receiving.url, MESSAGE)).failure == ""
            receiving.behaves = hangs
            assert (await post(receiving.url, MESSAGE)).failure == "timeout"

    async def test_says_what_it_was_asked_for(self, receiving: Receiver) -> None:
        async def is_busy(_request: web.Request, _event: dict[str, Any]) -> web.Response:
            return web.Response(status=429, headers={"Retry-After": "7"})

        receiving.behaves = is_busy
        async with opened_post(now, private=True) as post:
            answer = await post(receiving.url, MESSAGE)
        assert (answer.status, answer.failure, answer.wait_seconds, answer.gone) == (429, "refused", 7.0, False)
        assert isinstance(post, WebhookPost)
