"""Where the platform listens, what it says when it cannot, and how an answer leaves."""

import asyncio

import pytest

from infra.apps.listening import AddressUnavailable, listen
from infra.apps.web import Joined


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
