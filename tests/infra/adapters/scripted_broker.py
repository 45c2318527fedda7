"""A broker of a few lines that answers appends as a test says, over Kafka's own wire: what a real one does once in a year."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka.protocol.admin import ApiVersionResponse_v0, SaslAuthenticateResponse_v0, SaslHandShakeResponse_v1
from aiokafka.protocol.metadata import MetadataResponse_v1
from aiokafka.protocol.offset import OffsetRequest_v2, OffsetResponse_v2
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7

_VERSIONS = [(0, 7, 7), (2, 2, 2), (3, 1, 1), (17, 1, 1), (18, 0, 0), (36, 0, 0)]
_NODE = 1
_PARTITIONS = 4

Appended: TypeAlias = dict[tuple[str, int], bytes]
Script: TypeAlias = Callable[[Appended], dict[tuple[str, int], tuple[int, int]] | None]
"""From the batches of one request to each one's error code and offset; None: no answer ever comes."""


@dataclass(slots=True)
class ScriptedBroker:
    """`requests` are the batches that came, `connections` how many were made, `passwords` what clients said who they are.

    `asked_ends` are the partitions of each request for ends, which are all 7, but for `refusing`: error codes by partition.
    """

    script: Script
    port: int = 0
    led: bool = True
    requests: list[Appended] = field(default_factory=list)
    connections: int = 0
    passwords: list[bytes] = field(default_factory=list)
    asked_ends: list[list[int]] = field(default_factory=list)
    refusing: dict[int, int] = field(default_factory=dict)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                request = await reader.readexactly(size)
                key, _version, correlation_id, name = struct.unpack_from(">hhih", request)
                body = self._answer(key, request[10 + name :])
                if body is not None:
                    writer.write(struct.pack(">ii", 4 + len(body), correlation_id) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _answer(self, key: int, body: bytes) -> bytes | None:
        if key == 18:
            return _encoded(ApiVersionResponse_v0(0, _VERSIONS))
        if key == 17:
            return _encoded(SaslHandShakeResponse_v1(0, ["PLAIN"]))
        if key == 36:
            self.passwords.append(body[4:])
            return _encoded(SaslAuthenticateResponse_v0(0, "", b""))
        if key == 3:
            leader = _NODE if self.led else -1
            partitions = [(0 if self.led else 5, number, leader, [_NODE], [_NODE]) for number in range(_PARTITIONS)]
            return _encoded(MetadataResponse_v1([(_NODE, "localhost", self.port, None)], _NODE, [(0, "scripted", False, partitions)]))
        if key == 2:
            ((topic, wanted),) = OffsetRequest_v2.decode(body).topics
            self.asked_ends.append([number for number, _ in wanted])
            return _encoded(OffsetResponse_v2(0, [(topic, [(number, self.refusing.get(number, 0), -1, 7) for number, _ in wanted])]))
        appended = {(topic, at): buffer for topic, partitions in ProduceRequest_v7.decode(body).topics for at, buffer in partitions}
        self.requests.append(appended)
        answers = self.script(appended)
        if answers is None:
            return None
        return _encoded(ProduceResponse_v7([(topic, [(at, *answer, -1, 0)]) for (topic, at), answer in answers.items()], 0))


def _encoded(message: Any) -> bytes:
    encoded: bytes = message.encode()
    return encoded


@asynccontextmanager
async def scripted_broker(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedBroker]:
    broker = ScriptedBroker(script)
    server = await asyncio.start_server(broker.serve, "localhost", 0, ssl=tls)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        broker.close()
        await server.wait_closed()
