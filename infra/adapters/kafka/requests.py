"""Kafka's requests as bytes of our own making: what aiokafka's general encoder takes ten times as long for."""

import struct
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
_HEADER = struct.Struct(">ihhi")
COUNT = struct.Struct(">i")
LENGTH = struct.Struct(">h")


class _ResponseHeader(NamedTuple):
    correlation_id: int


class Decoder(Protocol[Answer_co]):
    """Makes an answer of the rest of a response. `aiokafka.conn` calls it `RESPONSE_TYPE`."""

    def decode(self, stream: Any) -> Answer_co: ...


class WireRequest(Generic[Answer]):
    """A request, with what `aiokafka.conn` asks of one that waits for its answer."""

    KEY: ClassVar[int]
    VERSION: ClassVar[int]

    def __init__(self, body: bytes, decoder: Decoder[Answer]) -> None:
        self._body = body
        self.RESPONSE_TYPE = decoder

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._body)} bytes)"

    def frame(self, correlation_id: int, client_id: bytes) -> bytes:
        """The request as it goes over the wire."""
        size = _HEADER.size - COUNT.size + LENGTH.size + len(client_id) + len(self._body)
        header = _HEADER.pack(size, self.KEY, self.VERSION, correlation_id)
        return b"".join((header, LENGTH.pack(len(client_id)), client_id, self._body))

    @staticmethod
    def parse_response_header(stream: Any) -> _ResponseHeader:
        """As `aiokafka.conn` calls it, before the rest of the answer is decoded."""
        return _ResponseHeader(*COUNT.unpack(stream.read(COUNT.size)))
