"""A socket of the Deepgram SDK's over TLS: messages of any length pass through buffers of one record."""

import asyncio
from pathlib import Path

import pytest
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from infra.adapters.deepgram import sockets
from infra.adapters.deepgram.sockets import SdkSocket
from tests.benchmarks.voice.authority import make_authority, serving_context

LONG = bytes(range(256)) * 3_000


class Echoing(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            for _ in range(3):
                transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())


class TestSdkSocket:
    async def test_carries_what_is_much_longer_than_its_buffers_both_ways(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in make_authority(tmp_path).items():
            monkeypatch.setenv(name, value)
        sockets._tls.cache_clear()  # noqa: SLF001 - another authority holds for this test
        server = await ws_create_server(lambda _: Echoing(), "127.0.0.1", 0, ssl=serving_context(tmp_path), max_frame_size=1 << 20)
        try:
            socket = SdkSocket(f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}", {})
            async with asyncio.timeout(120):
                await socket.dial()
                await socket.send(LONG)
                assert [await socket.recv() for _ in range(3)] == [LONG] * 3
                await socket.close()
        finally:
            sockets._tls.cache_clear()  # noqa: SLF001
            server.close()
            await server.wait_closed()
