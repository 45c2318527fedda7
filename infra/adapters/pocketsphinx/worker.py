"""The decoder's process: the library keeps Python's lock while it computes and has crashed before, so it lives apart from calls.

Messages in both directions are msgpack after a length of four bytes. One process serves several streams in the order of
their audio; decoders that are free are kept for the next stream with the same vocabulary.
"""

import signal
import struct
import sys
from typing import Any, BinaryIO, Final, TypeAlias

import msgspec

from infra.adapters.pocketsphinx.hearing import Heard, Hearing, new_decoder

_LENGTH: Final = struct.Struct("<I")
_SPARE_DECODERS: Final = 4


class Open(msgspec.Struct, frozen=True, array_like=True, tag="open"):
    stream: int
    model: str
    dictionary: str
    pause_ms: int


class Audio(msgspec.Struct, frozen=True, array_like=True, tag="audio"):
    stream: int
    mulaw: bytes


class Finalize(msgspec.Struct, frozen=True, array_like=True, tag="finalize"):
    stream: int


class Close(msgspec.Struct, frozen=True, array_like=True, tag="close"):
    stream: int


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="opened"):
    stream: int


Order: TypeAlias = Open | Audio | Finalize | Close
Answer: TypeAlias = Opened | Heard

_encoder: Final = msgspec.msgpack.Encoder()


def framed(message: Order | Answer) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class _Worker:
    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self._streams: dict[int, tuple[str, Hearing]] = {}
        self._free: list[tuple[str, Any]] = []

    def _tell(self, answer: Answer) -> None:
        self._answers.write(framed(answer))
        self._answers.flush()

    def _decoder(self, order: Open) -> Any:
        for at, (model, decoder) in enumerate(self._free):
            if model == order.model:
                del self._free[at]
                return decoder
        return new_decoder(order.model, order.dictionary)

    def obey(self, order: Order) -> None:
        match order:
            case Open(stream=stream, model=model, pause_ms=pause_ms):
                hearing = Hearing(self._decoder(order), stream=stream, pause_ms=pause_ms, tell=self._tell)
                self._streams[stream] = (model, hearing)
                self._tell(Opened(stream))
            case Audio(stream=stream, mulaw=mulaw):
                if stream in self._streams:
                    self._streams[stream][1].feed(mulaw)
            case Finalize(stream=stream):
                if stream in self._streams:
                    self._streams[stream][1].finalize()
            case Close(stream=stream):
                if stream in self._streams:
                    model, hearing = self._streams.pop(stream)
                    hearing.close()
                    self._free = [*self._free, (model, hearing.decoder)][-_SPARE_DECODERS:]


def run(orders: BinaryIO, answers: BinaryIO) -> None:
    """Serve until the other side closes."""
    worker = _Worker(answers)
    decoder = msgspec.msgpack.Decoder(Order)
    while len(head := orders.read(_LENGTH.size)) == _LENGTH.size:
        worker.obey(decoder.decode(orders.read(_LENGTH.unpack(head)[0])))


if __name__ == "__main__":
    # Ctrl-C in a terminal goes to the whole group; this process ends when its parent closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run(sys.stdin.buffer, sys.stdout.buffer)
