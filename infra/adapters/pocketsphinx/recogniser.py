"""An offline recogniser that needs no account: pocketsphinx in a process of its own, with a language model of the business."""

import asyncio
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from infra.adapters.pocketsphinx.hearing import ENDED_BY_REQUEST, Heard
from infra.adapters.pocketsphinx.preparing import Prepared, PreparingFailed, prepare
from infra.adapters.pocketsphinx.worker import Answer, Audio, Close, Finalize, Open, Opened, Order, framed
from infra.adapters.spawning import spawned
from realtime.ports import SEVERAL, EngineFailed, EngineUnavailable, EngineUnsuited, HearingListener, Transcript

NAME: Final = "pocketsphinx"
_LENGTH: Final = struct.Struct("<I")
_PAUSE_MS: Final = 800
# Half a minute of one stream: a decoder that far behind is of no use to a call.
_MOST_WAITING_BYTES: Final = 256 * 1024

Listener: TypeAlias = Callable[[Heard | EngineFailed], None]


class RecogniserStream:
    """One stream of audio; what it hears comes with every word's time."""

    def __init__(self, worker: "Recogniser", number: int) -> None:
        self._worker = worker
        self._number = number

    def send(self, mulaw: bytes) -> None:
        self._worker.order(Audio(self._number, mulaw))

    def finalize(self) -> None:
        self._worker.order(Finalize(self._number))

    async def close(self) -> None:
        self._worker.forget(self._number)


class Recogniser:
    """The worker process and its streams. Started with the first stream, started again after a crash, ended by `close`."""

    def __init__(self, *, cache: Path) -> None:
        self._cache = cache
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._closed = False
        self._listeners: dict[int, Listener] = {}
        self._opening: dict[int, asyncio.Future[None]] = {}
        self._preparing: dict[frozenset[str], asyncio.Task[Prepared]] = {}
        self._last_number = 0

    async def prepare(self, vocabulary: Sequence[str]) -> Prepared:
        """Build the model of a vocabulary ahead of the first call; some seconds the first time. Raises EngineUnavailable."""
        wanted = frozenset(vocabulary)
        if wanted not in self._preparing:
            # Goes on when the one who asked for it does not wait any longer: the next one will not have to.
            task = asyncio.create_task(prepare(self._cache, vocabulary), name="pocketsphinx-prepare")
            self._preparing[wanted] = task
            task.add_done_callback(partial(self._prepared, wanted))
        try:
            return await asyncio.shield(self._preparing[wanted])
        except (PreparingFailed, OSError) as error:
            raise EngineUnavailable(NAME, str(error)) from error

    def _prepared(self, wanted: frozenset[str], task: asyncio.Task[Prepared]) -> None:
        del self._preparing[wanted]
        if not task.cancelled():
            # Looked at here, because whoever asked may have left.
            task.exception()

    async def open(self, *, vocabulary: Sequence[str], pause_ms: int, listener: Listener) -> RecogniserStream:
        """Open a stream; `pause_ms` of quiet end a stretch by themselves. Raises EngineUnavailable."""
        prepared = await self.prepare(vocabulary)
        await self._start()
        self._last_number += 1
        number = self._last_number
        opened = asyncio.get_running_loop().create_future()
        self._listeners[number], self._opening[number] = listener, opened
        self.order(Open(number, str(prepared.model), str(prepared.dictionary), pause_ms))
        try:
            await opened
        except BaseException:
            self.forget(number)
            raise
        finally:
            del self._opening[number]
        return RecogniserStream(self, number)

    def order(self, order: Order) -> None:
        """Hand an order to the worker; without effect when the stream or the worker is gone."""
        if order.stream not in self._listeners or self._process is None or self._process.stdin is None:
            return
        if self._process.stdin.transport.get_write_buffer_size() > _MOST_WAITING_BYTES:
            self._fail("the decoder does not keep up")
        self._process.stdin.write(framed(order))

    def forget(self, number: int) -> None:
        self.order(Close(number))
        self._listeners.pop(number, None)

    def kill(self) -> None:
        """End the worker at once: its streams fail, and the next one starts another."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the worker. Idempotent."""
        self._listeners.clear()
        for task in (preparing := list(self._preparing.values())):
            task.cancel()
        if preparing:
            await asyncio.wait(preparing)
        self._closed = True
        # One that is being started is ours to end as well.
        async with self._starting:
            self.kill()
            if self._reader is not None:
                await self._reader
                self._reader = None

    async def _start(self) -> None:
        async with self._starting:
            if self._closed:
                raise EngineUnavailable(NAME, "it is closed")
            if self._process is not None and self._process.returncode is None and self._reader is not None:
                return
            try:
                self._process = await spawned(
                    *(sys.executable, "-m", "infra.adapters.pocketsphinx.worker"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
            except OSError as error:
                raise EngineUnavailable(NAME, str(error)) from error
            self._reader = asyncio.create_task(self._read(self._process), name="pocketsphinx-answers")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        answers = process.stdout
        decoder = msgspec.msgpack.Decoder(Answer)
        with suppress(asyncio.IncompleteReadError, ConnectionResetError):
            while answers is not None:
                (length,) = _LENGTH.unpack(await answers.readexactly(_LENGTH.size))
                self._deliver(decoder.decode(await answers.readexactly(length)))
        code = await process.wait()
        self._reader = None
        self._fail(f"the decoder's process ended with {code}")

    def _deliver(self, answer: Answer) -> None:
        match answer:
            case Opened(stream=stream):
                if stream in self._opening and not self._opening[stream].done():
                    self._opening[stream].set_result(None)
            case Heard(stream=stream):
                if stream in self._listeners:
                    self._listeners[stream](answer)

    def _fail(self, reason: str) -> None:
        for opened in self._opening.values():
            if not opened.done():
                opened.set_exception(EngineUnavailable(NAME, reason))
        listeners, self._listeners = self._listeners, {}
        for number, listener in listeners.items():
            if number not in self._opening:
                listener(EngineFailed(engine=NAME, reason=reason))


class Pocketsphinx:
    """The recogniser as a call sees it, in the place of Deepgram's Nova-3 and priced as it."""

    name = "deepgram/nova-3"
    embedded = True

    def __init__(self, recogniser: Recogniser) -> None:
        self._recogniser = recogniser

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> RecogniserStream:
        """English is the only language there is a model for, so of several it hears that one. Raises EngineUnsuited for others."""
        if not any(each.lower().startswith("en") for each in language.split(SEVERAL)):
            raise EngineUnsuited(NAME, f"there is no offline model for {language}")
        return await self._recogniser.open(
            vocabulary=vocabulary, pause_ms=_PAUSE_MS, listener=lambda heard: listener(_as_transcript(heard))
        )


def _as_transcript(heard: Heard | EngineFailed) -> Transcript | EngineFailed:
    if isinstance(heard, EngineFailed):
        return heard
    words = heard.words
    return Transcript(
        text=" ".join(word.text for word in words),
        is_final=heard.is_final,
        from_finalize=heard.ended == ENDED_BY_REQUEST,
        start_ms=words[0].start_ms if words else heard.start_ms,
        end_ms=words[-1].end_ms if words else heard.end_ms,
        confidence=sum(word.confidence for word in words) / len(words) if words else 0.0,
        settled_ms=heard.end_ms if heard.is_final else None,
    )
