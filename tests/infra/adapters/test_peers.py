"""Processes ask each other over framed sockets, and only those of one authority."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from commands.routing.ports import Silent, Unreachable
from infra.adapters.peer_identity import IdentityUnusable, PeerIdentity, local_identity, read_identity
from infra.adapters.peers import HELLO, PeerServer, SocketPeers
from infra.local.ports import LOOPBACK, free_ports


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> PeerIdentity:
    return local_identity(tmp_path_factory.mktemp("us") / "peers")


@asynccontextmanager
async def served(serve: Callable[[bytes], Awaitable[bytes]], identity: PeerIdentity | None) -> AsyncIterator[str]:
    """A server; yields its address."""
    listening = socket.create_server((LOOPBACK, 0))
    async with PeerServer(serve, listening, None if identity is None else identity.server):
        yield f"{LOOPBACK}:{listening.getsockname()[1]}/00000001"


async def echo(request: bytes) -> bytes:
    return b"heard " + request


class TestAsk:
    async def test_gets_each_answer_to_its_own_question(self, identity: PeerIdentity) -> None:
        gate = asyncio.Event()

        async def serve(request: bytes) -> bytes:
            if request == b"slow":
                await gate.wait()
            elif request == b"last":
                gate.set()
            return b"heard " + request

        async with served(serve, identity) as address, SocketPeers(identity.client) as peers:
            big = b"x" * 1_000_000
            asked = [asyncio.ensure_future(peers.ask(address, request, 5)) for request in (b"slow", b"quick", big, b"last")]
            assert await asyncio.gather(*asked) == [b"heard slow", b"heard quick", b"heard " + big, b"heard last"]

    async def test_is_silent_when_nobody_answers_in_time(self, identity: PeerIdentity) -> None:
        never = asyncio.Event()

        async def serve(_: bytes) -> bytes:
            await never.wait()
            return b""

        async with SocketPeers(identity.client) as peers, served(serve, identity) as address:
            with pytest.raises(Silent):
                await peers.ask(address, b"hello", 0.05)
            never.set()

    async def test_is_silent_at_once_when_the_connection_breaks(self, identity: PeerIdentity) -> None:
        asked, never = asyncio.Event(), asyncio.Event()

        async def serve(_: bytes) -> bytes:
            asked.set()
            await never.wait()
            return b""

        async with SocketPeers(identity.client) as peers:
            async with served(serve, identity) as address:
                asking = asyncio.ensure_future(peers.ask(address, b"hello", 30))
                await asked.wait()
                never.set()
            with pytest.raises(Silent, match="broke"):
                await asking
            with pytest.raises(Unreachable):
                await peers.ask(address, b"hello", 30)

    async def test_cannot_reach_where_nobody_listens(self, identity: PeerIdentity) -> None:
        (port,) = free_ports(1)
        async with SocketPeers(identity.client) as peers:
            with pytest.raises(Unreachable):
                await peers.ask(f"{LOOPBACK}:{port}/00000001", b"hello", 5)


class TestStranger:
    async def test_is_not_answered_and_not_asked(self, identity: PeerIdentity, tmp_path: Path) -> None:
        strangers = local_identity(tmp_path / "strangers")
        heard: list[bytes] = []

        async def serve(request: bytes) -> bytes:
            heard.append(request)
            return b""

        async with served(serve, identity) as address, SocketPeers(strangers.client) as peers:
            with pytest.raises(Unreachable):
                await peers.ask(address, b"hello", 5)
        async with served(serve, strangers) as address, SocketPeers(identity.client) as peers:
            with pytest.raises(Unreachable):
                await peers.ask(address, b"hello", 5)
        assert not heard

    async def test_without_a_certificate_is_not_answered(self, identity: PeerIdentity) -> None:
        async with served(echo, identity) as address, SocketPeers(None) as peers:
            with pytest.raises((Unreachable, Silent)):
                await peers.ask(address, b"hello", 1)


class TestAnotherVersion:
    @pytest.mark.parametrize("said", [b"AYBP\x02", b"GET /"])
    async def test_is_refused_in_words(self, said: bytes) -> None:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            with suppress(ConnectionError):
                await reader.read()
            writer.close()

        server = await asyncio.start_server(speak, LOOPBACK, 0)
        async with server, SocketPeers(None) as peers:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(Unreachable, match="run one version of the program everywhere"):
                await peers.ask(f"{LOOPBACK}:{port}/00000001", b"hello", 5)

    async def test_and_a_frame_of_nonsense_close_the_connection(self) -> None:
        async with served(echo, None) as address:
            port = int(address.partition("/")[0].rpartition(":")[2])
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(HELLO + b"\xff" * 64)
            with suppress(ConnectionError):
                assert (await reader.read())[: len(HELLO)] == HELLO
            writer.close()


class TestIdentity:
    def test_is_made_once_and_kept_from_others(self, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "peers"
        local_identity(folder)
        before = {each.name: each.read_bytes() for each in folder.iterdir()}
        local_identity(folder)
        assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
        assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}

    def test_that_is_missing_is_said_with_its_paths(self, tmp_path: Path) -> None:
        with pytest.raises(IdentityUnusable, match=r"ca\.pem"):
            read_identity(tmp_path / "ca.pem", tmp_path / "own.pem", tmp_path / "own.key")
