"""Whatever a socket brings, the process lives: no crash, no task left behind, each socket closed with a reason, floods cut off.

A few thousand messages by default; FUZZ_MESSAGES=100000 (`make fuzz`) and FUZZ_SEED for more and for others.
"""

import asyncio
import base64
import json
import os
import random
import re
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from realtime.carrier.floods import Allowance
from realtime.carrier.media_socket import MediaSocket
from realtime.worker import WorkerSettings
from tests.realtime.office import NUMBER, Office, open_office
from tests.realtime.strange_messages import Peer

MESSAGES = int(os.environ.get("FUZZ_MESSAGES", "4000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
LONGEST = 60


@dataclass(slots=True)
class Wire:
    """A Transport that keeps what was sent and how it was closed."""

    sent: list[bytes] = field(default_factory=list)
    closed: list[tuple[int, str]] = field(default_factory=list)

    def send(self, text: bytes) -> None:
        assert not self.closed, "nothing is sent on a closed socket"
        self.sent.append(text)

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


def feed(socket: MediaSocket, message: str | bytes) -> None:
    """As the server does: text frames by their bytes, others by their kind."""
    if isinstance(message, bytes) and len(message) % 3 == 0:
        socket.binary()
    else:
        # A lone surrogate cannot be sent as text; its bytes can.
        socket.text(memoryview(message if isinstance(message, bytes) else message.encode("utf-8", "surrogatepass")))


async def peer(office: Office, draws: random.Random, number: int, *, honest: bool = False) -> Peer:
    call_sid = f"CA{number:032x}"
    token = "nobody's"
    if honest or draws.random() < 0.8:
        document = await office.worker.ring(call_sid, f"+1555{number:07}", NUMBER)
        found = re.search(r'value="([^"]+)"', document)
        assert found is not None
        token = found[1]
    return Peer(draws, call_sid, f"MZ{number:032x}", token, honest)


async def talk(office: Office, draws: random.Random, number: int) -> tuple[Wire, int]:
    """One socket, from its first message until it is closed or the peer goes; how many messages that took."""
    wire, other = Wire(), await peer(office, draws, number)
    socket = office.worker.accept(wire)
    left = draws.randrange(2, LONGEST)
    messages = other.opening()
    taken = 0
    while not wire.closed and taken < left:
        feed(socket, messages.pop(0) if messages else other.message())
        taken += 1
        if draws.random() < 0.05:
            await asyncio.sleep(0)
    if draws.random() < 0.5:
        # What was on its way when the socket was closed.
        feed(socket, other.message())
    socket.disconnected()
    socket.disconnected()
    return wire, taken


class TestStrangeMessages:
    async def test_crash_nothing_leak_nothing_and_are_answered_with_a_reason(self) -> None:
        draws, before, messages, closed, sockets = random.Random(SEED), asyncio.all_tasks(), 0, 0, 0
        settings = WorkerSettings(name="w", start_within_seconds=30)
        # A machine that has no time for us for a moment, in so many rings, is no log that is away.
        async with open_office(lambda _: [], settings=settings, answer_within_seconds=60) as office:
            at_work = asyncio.all_tasks()
            while messages < MESSAGES:
                wire, taken = await talk(office, draws, sockets)
                messages, sockets = messages + taken, sockets + 1
                assert len(wire.closed) <= 1
                assert all(1000 <= code < 1016 and reason for code, reason in wire.closed)
                closed += bool(wire.closed)
            async with asyncio.timeout(120):
                await office.worker.idle()
            counters = office.worker.counters
            assert counters["calls-crashed"] == 0
            assert office.worker.live_calls == 0
            assert asyncio.all_tasks() - at_work == set()
            # The fuzz gets everywhere: many calls began, and each way of being refused was met.
            assert counters["calls"] > sockets // 4
            wrong = {"malformed-frame", "unknown-event", "foreign-stream", "untimely-frame", "binary-frame", "oversized-frame"}
            assert wrong <= set(counters)
            assert sum(counters[each] for each in (*wrong, "unsupported-format", "token-forged", "token-missing")) <= closed
        assert asyncio.all_tasks() == before


class TestAFlood:
    async def test_of_good_frames_is_cut_off_with_a_reason_and_counted(self) -> None:
        async with open_office(lambda _: [], settings=WorkerSettings(name="w")) as office:
            wire, other = Wire(), await peer(office, random.Random(SEED), 1, honest=True)
            socket = office.worker.accept(wire)
            for message in other.opening():
                feed(socket, message)
            sent = 0
            while not wire.closed and sent < 20_000:
                socket.text(_frame(other.stream_sid, 20 * sent))
                sent += 1
            assert wire.closed == [(1008, "flooded")]
            assert office.worker.counters["flooded"] == 1
            # A minute of talk that had been held up in the network is no flood.
            assert sent > 60 * 50 - 10
            await office.worker.idle()
            assert office.worker.live_calls == 0

    async def test_of_large_messages_before_any_call_is_cut_off_as_well(self) -> None:
        async with open_office(lambda _: [], settings=WorkerSettings(name="w")) as office:
            wire = Wire()
            socket = office.worker.accept(wire)
            socket.text(b'{"event":"connected","protocol":"Call","version":"' + b"1" * 60_000 + b'"}')
            assert not wire.closed
            sent = 1
            while not wire.closed:
                socket.text(b'{"event":"start"' + b" " * 60_000)
                sent += 1
            assert wire.closed[0][0] == 1008


class TestAnAllowance:
    def test_lasts_for_ever_at_a_carriers_pace(self) -> None:
        allowance = Allowance(0.0)
        assert all(allowance.takes(400, tick * 0.02) for tick in range(100_000))

    def test_is_used_up_by_a_faster_peer_and_grows_again(self) -> None:
        allowance = Allowance(0.0)
        taken = next(count for count in range(100_000) if not allowance.takes(400, 0.001 * count))
        assert 3_000 < taken < 10_000
        assert allowance.takes(400, 1000.0)

    def test_counts_bytes_as_well_as_messages(self) -> None:
        allowance = Allowance(0.0)
        assert next(count for count in range(1_000) if not allowance.takes(60_000, 0.0)) == 40


def _frame(stream_sid: str, at_ms: int) -> bytes:
    media = {"track": "inbound", "chunk": "1", "timestamp": str(at_ms), "payload": base64.b64encode(b"\xff" * 160).decode()}
    return json.dumps({"event": "media", "sequenceNumber": "2", "streamSid": stream_sid, "media": media}).encode()


class TestGarbageOnTheWire:
    async def test_costs_its_connection_and_nothing_else(self) -> None:
        draws = random.Random(SEED)
        async with open_office(lambda _: [], settings=WorkerSettings(name="w", start_within_seconds=0.5)) as office:
            address = urlsplit(office.media_url)
            async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
                for _ in range(40):
                    tasks.create_task(_garbage(address.hostname or "", address.port or 0, draws.randbytes(draws.choice((1, 60, 4000)))))
            wire, other = Wire(), await peer(office, draws, 7, honest=True)
            socket = office.worker.accept(wire)
            for message in other.opening():
                feed(socket, message)
            assert office.worker.live_calls == 1
            socket.disconnected()
            await office.worker.idle()
            assert office.worker.counters["calls-crashed"] == 0


async def _garbage(host: str, port: int, after: bytes) -> None:
    """Shake hands, send bytes that are no frames or no sensible ones, and wait to be cut off."""
    reading, writing = await asyncio.open_connection(host, port)
    key = base64.b64encode(bytes(16)).decode()
    writing.write(
        f"GET /media HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        + after
    )
    with suppress(ConnectionError):
        while await reading.read(4096):
            pass
    writing.close()
