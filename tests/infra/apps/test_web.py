"""Where the platform listens, what it says when it cannot, and how an answer leaves."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from typing import ClassVar

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from infra.apps.listening import AddressUnavailable, listen
from infra.apps.web import Impatient, Joined, serving


class TestListen:
    def test_takes_a_free_port_when_none_is_named(self) -> None:
        with listen("127.0.0.1", None, setting="AYBIZA_HTTP_PORT") as listening:
            assert listening.getsockname()[1] > 0

    def test_says_which_setting_to_change_when_the_port_is_taken(self) -> None:
        with listen("127.0.0.1", None, setting="AYBIZA_HTTP_PORT") as taken:
            port = taken.getsockname()[1]
            with pytest.raises(AddressUnavailable, match=rf"127\.0\.0\.1:{port} .*Set AYBIZA_HTTP_PORT to a free port"):
                listen("127.0.0.1", port, setting="AYBIZA_HTTP_PORT")


class Packets(asyncio.Transport):
    """Keeps what was written, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True


class TestAnAnswer:
    async def test_leaves_head_and_body_together(self) -> None:
        packets = Packets()
        answer = Joined(packets, asyncio.get_running_loop())
        answer.write(b"head")
        answer.write(b"body")
        answer.write(b"more")
        await asyncio.sleep(0)
        assert packets.sent == [b"headbody", b"more"]

    async def test_whose_body_comes_later_has_its_head_sent_at_once(self) -> None:
        packets = Packets()
        answer = Joined(packets, asyncio.get_running_loop())
        answer.write(b"head")
        await asyncio.sleep(0)
        assert packets.sent == [b"head"]
        answer.write(b"body")
        assert packets.sent == [b"head", b"body"]

    async def test_is_out_before_its_connection_is_closed(self) -> None:
        packets = Packets()
        answer = Joined(packets, asyncio.get_running_loop())
        answer.write(b"head")
        answer.close()
        assert packets.sent == [b"head"]
        assert packets.closed
        await asyncio.sleep(0)
        assert packets.sent == [b"head"]


class Hasty(Impatient):
    taking_seconds = 0.02
    lost: ClassVar[asyncio.Event]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


class Slow(Packets):
    """Less is left at each look, until the last."""

    def __init__(self, *left: int) -> None:
        super().__init__()
        self.left = list(left)
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.left.pop(0)

    def abort(self) -> None:
        self.aborted.set()


class TestWhoTakesNothing:
    async def test_of_an_answer_is_left_and_nothing_is_kept_for_them(self, caplog: pytest.LogCaptureFixture) -> None:
        ended, Hasty.lost = asyncio.Event(), asyncio.Event()
        app = FastAPI()

        async def without_end() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield bytes(65_536)
                    await asyncio.sleep(0)
            finally:
                ended.set()

        @app.get("/")
        async def answer() -> StreamingResponse:
            return StreamingResponse(without_end())

        with listen("127.0.0.1", None, setting="AYBIZA_HTTP_PORT") as listening, socket.socket() as client, caplog.at_level(logging.INFO):
            async with serving(app, listening, Hasty), asyncio.timeout(120):
                client.connect(listening.getsockname())
                client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
                # Whose answer is only ended keeps the connection until all is taken that was written.
                await Hasty.lost.wait()
                await ended.wait()
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []

    async def test_is_not_who_takes_little(self) -> None:
        Hasty.lost = asyncio.Event()
        line = Slow(9, 7, 7, 3, 3, 3)
        protocol = Hasty(uvicorn.Config(FastAPI(), log_config=None), ServerState(), {})
        protocol.connection_made(line)
        protocol.pause_writing()
        async with asyncio.timeout(120):
            await line.aborted.wait()
        assert line.left == []
        protocol.connection_lost(None)


class TestAWebSocketThatIsRefused:
    async def test_is_no_error_of_ours(self, caplog: pytest.LogCaptureFixture) -> None:
        app = FastAPI()

        @app.websocket("/")
        async def refuse(socket: WebSocket) -> None:
            await socket.send_denial_response(PlainTextResponse("not you", 401))

        with listen("127.0.0.1", None, setting="AYBIZA_HTTP_PORT") as listening:
            async with serving(app, listening), asyncio.timeout(120):
                host, port = listening.getsockname()
                with pytest.raises(InvalidStatus) as raised:
                    await connect(f"ws://{host}:{port}/")
        assert (raised.value.response.status_code, raised.value.response.body) == (401, b"not you")
        assert [record for record in caplog.records if record.levelno > logging.INFO] == []
