"""The way to other processes, on sockets and on paper, keeps one contract."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from commands.routing.ports import Peers, Silent, Unreachable
from infra.adapters.peer_identity import local_identity
from infra.adapters.peers import PeerServer, SocketPeers
from infra.local.ports import LOOPBACK
from tests.paper_peers import PaperNet, PaperPeers


class Street:
    """Somebody to ask, who hears `heard`, answers in capitals, and waits when told `wait`; and how he goes away."""

    def __init__(self, peers: Peers, address: str, leaving: AsyncExitStack) -> None:
        self.peers = peers
        self.address = address
        self.leaving = leaving
        self.heard: list[bytes] = []
        self.gate = asyncio.Event()

    async def serve(self, request: bytes) -> bytes:
        self.heard.append(request)
        if request == b"wait":
            await self.gate.wait()
        return request.upper()


@pytest.fixture(params=["sockets", "paper"])
async def street(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Street]:
    async with AsyncExitStack() as stack:
        leaving = await stack.enter_async_context(AsyncExitStack())
        if request.param == "paper":
            net = PaperNet()
            here = Street(PaperPeers(net, "here:1/00000001"), "there:1/00000001", leaving)
            net.serving[here.address] = here.serve
            leaving.callback(net.dead.add, here.address)
        else:
            identity = local_identity(tmp_path / "peers")
            listening = socket.create_server((LOOPBACK, 0))
            peers = await stack.enter_async_context(SocketPeers(identity.client))
            here = Street(peers, f"{LOOPBACK}:{listening.getsockname()[1]}/00000001", leaving)
            await leaving.enter_async_context(PeerServer(here.serve, listening, identity.server))
        yield here
        here.gate.set()


class TestAsk:
    async def test_brings_the_answer(self, street: Street) -> None:
        assert await street.peers.ask(street.address, b"hello", 120) == b"HELLO"

    async def test_lets_answers_overtake_each_other(self, street: Street) -> None:
        slow = asyncio.create_task(street.peers.ask(street.address, b"wait", 120))
        assert await street.peers.ask(street.address, b"hello", 120) == b"HELLO"
        street.gate.set()
        assert await slow == b"WAIT"

    async def test_says_that_nobody_answered_in_time_and_asks_once(self, street: Street) -> None:
        # Once there is a way, what is asked goes at once, however short the time for its answer.
        await street.peers.ask(street.address, b"hello", 120)
        with pytest.raises(Silent):
            await street.peers.ask(street.address, b"wait", 0.05)
        await street.peers.ask(street.address, b"hello", 120)
        assert sorted(street.heard) == [b"hello", b"hello", b"wait"]

    async def test_says_that_nobody_is_there(self, street: Street) -> None:
        await street.peers.ask(street.address, b"hello", 120)
        await street.leaving.aclose()
        async with asyncio.timeout(120):
            while True:
                try:
                    await street.peers.ask(street.address, b"again", 120)
                except Unreachable:
                    break
                except Silent:
                    # It went as it was asked.
                    continue
        assert b"again" not in street.heard
