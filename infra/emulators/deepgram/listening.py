"""One emulated `/v1/listen` socket: knows the words by the audio it receives, and minds the provider's rules."""

import asyncio
import random
import uuid
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from infra.adapters.pocketsphinx.hearing import ENDED_BY_PAUSE, ENDED_BY_REQUEST, Heard, Word
from infra.adapters.pocketsphinx.recogniser import Recogniser, RecogniserStream
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.languages import by_share, language_of, understood
from infra.emulators.deepgram.parameters import ListenParameters
from realtime.audio import BYTES_PER_MS
from realtime.ports import EngineFailed, EngineUnavailable

NO_AUDIO: Final = "NET-0001"
_BAD_DATA: Final = "DATA-0000"
_SHORTEST_PAUSE_MS: Final = 100
_MOST_RECEIVED: Final = 6000
_NEVER_MS: Final = 1_000_000
_UNMARKED_SHARE: Final = 0.2
_EMPTY_FINAL_EVERY_MS: Final = 5_000
_EMPTY_FINAL_LAG_MS: Final = 1_000
_QUESTIONS: Final = frozenset(
    {"what", "when", "where", "who", "which", "how", "why", "do", "does", "can", "could", "is", "are", "may", "will"}
)


class Listening:
    """A connection from its handshake to its end. `patience_seconds` without audio or KeepAlive close it with NET-0001."""

    def __init__(
        self, socket: web.WebSocketResponse, parameters: ListenParameters, *, seed: int, patience_seconds: float, faults: Faults
    ) -> None:
        self._socket = socket
        self._parameters = parameters
        self._patience_seconds = patience_seconds
        self._faults = faults
        # Seeded: the same connections leave out the same marks in every run.
        self._draws = random.Random(seed)  # noqa: S311
        self._request_id = str(uuid.uuid4())
        self._out: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue(1024)
        self._sign = asyncio.Event()
        self._closing: asyncio.Event | None = None
        # As much as the longest build of a language model lets pile up; the audio of a stream comes 20 ms at a time.
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_RECEIVED)
        self._received_ms = 0
        self._segment_ms = 0
        self._in_words = False
        self._last_word_ms: int | None = None

    async def serve(self, recogniser: Recogniser) -> None:
        """Talk until either side closes."""
        pause_ms = self._parameters.endpointing_ms if self._parameters.endpointing_ms is not None else _NEVER_MS
        opening = recogniser.open(vocabulary=self._parameters.key_terms, pause_ms=max(pause_ms, _SHORTEST_PAUSE_MS), listener=self._heard)
        tasks = [
            asyncio.create_task(self._recognise(opening), name="listen-recognise"),
            asyncio.create_task(self._write(), name="listen-write"),
            asyncio.create_task(self._watch(), name="listen-watch"),
        ]
        try:
            await self._receive()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _recognise(self, opening: Coroutine[Any, Any, RecogniserStream]) -> None:
        """Hand on what was received. New key terms need a language model first, which the provider has and we have to build."""
        try:
            stream = await opening
        except EngineUnavailable as error:
            self._heard(EngineFailed(engine=error.engine, reason=error.reason))
            return
        try:
            while True:
                received = await self._received.get()
                if received is None:
                    stream.finalize()
                else:
                    stream.send(received)
        finally:
            await stream.close()

    async def _receive(self) -> None:
        close_after_ms = self._faults.close_listen_after_ms
        async for message in self._socket:
            self._sign.set()
            if message.type is WSMsgType.BINARY:
                self._received.put_nowait(message.data)
                self._received_ms += len(message.data) // BYTES_PER_MS
                self._after_audio()
                if close_after_ms is not None and self._received_ms >= close_after_ms:
                    await self._socket.close(code=self._faults.close_code, message=self._faults.close_reason.encode())
            elif message.type is WSMsgType.TEXT and not await self._obey(message.data):
                return

    async def _obey(self, text: str) -> bool:
        """Carry out a text message; False when it ends the stream."""
        try:
            kind = msgspec.json.decode(text, type=dict[str, Any]).get("type")
        except msgspec.DecodeError:
            kind = None
        match kind:
            case "KeepAlive":
                return True
            case "Finalize":
                self._received.put_nowait(None)
                return True
            case "CloseStream":
                self._received.put_nowait(None)
                await self._goodbye()
                return False
            case _:
                await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=_BAD_DATA.encode())
                return False

    async def _goodbye(self) -> None:
        """The last words, then what was heard in all, then the end."""
        self._closing = asyncio.Event()
        await self._closing.wait()
        self._tell(
            {
                "type": "Metadata",
                "transaction_key": "deprecated",
                "request_id": self._request_id,
                "sha256": "0" * 64,
                "created": "2026-01-01T00:00:00.000Z",
                "duration": self._received_ms / 1000,
                "channels": 1,
            }
        )
        self._out.put_nowait(None)
        await self._out.join()
        await self._socket.close(code=WSCloseCode.OK)

    async def _watch(self) -> None:
        with suppress(TimeoutError):
            while self._closing is None:
                async with asyncio.timeout(self._patience_seconds):
                    await self._sign.wait()
                self._sign.clear()
        if self._closing is not None:
            return
        reason = f"{NO_AUDIO}: Deepgram did not receive audio data or a text message within the timeout window."
        await self._socket.close(code=WSCloseCode.INTERNAL_ERROR, message=reason.encode())

    async def _write(self) -> None:
        while True:
            message = await self._out.get()
            with suppress(ConnectionError):
                if message is not None and not self._socket.closed:
                    await self._socket.send_str(msgspec.json.encode(message).decode())
            self._out.task_done()

    def _tell(self, message: Mapping[str, Any]) -> None:
        if self._faults.dumb_listen_after_ms is not None and self._received_ms >= self._faults.dumb_listen_after_ms:
            return
        # A client that does not read loses what it was told; a thousand messages are minutes of talk.
        with suppress(asyncio.QueueFull):
            self._out.put_nowait(message)

    def _after_audio(self) -> None:
        """What follows from audio alone: the end of an utterance by its silence, and finals without words in long silence."""
        ended_ms, parameters = self._last_word_ms, self._parameters
        if self._in_words:
            return
        if parameters.utterance_end_ms is not None and ended_ms is not None and self._received_ms - ended_ms >= parameters.utterance_end_ms:
            self._last_word_ms = None
            self._tell({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": ended_ms / 1000})
        if self._received_ms - self._segment_ms >= _EMPTY_FINAL_EVERY_MS + _EMPTY_FINAL_LAG_MS:
            self._results((), self._received_ms - _EMPTY_FINAL_LAG_MS, is_final=True, speech_final=False, from_finalize=False)

    def _heard(self, heard: Heard | EngineFailed) -> None:
        if isinstance(heard, EngineFailed):
            self._tell({"type": "Error", "description": heard.reason, "message": heard.reason, "variant": "Internal"})
            return
        if not heard.is_final:
            self._interim(heard)
            return
        self._in_words = False
        if heard.words:
            self._last_word_ms = heard.words[-1].end_ms
        asked_for = heard.ended == ENDED_BY_REQUEST
        marked = asked_for and self._draws.random() >= _UNMARKED_SHARE
        paused = heard.ended == ENDED_BY_PAUSE
        self._results(heard.words, max(heard.end_ms, self._segment_ms), is_final=True, speech_final=paused, from_finalize=marked)
        if asked_for and self._closing is not None:
            self._closing.set()

    def _interim(self, heard: Heard) -> None:
        if not self._in_words and self._parameters.vad_events:
            self._tell({"type": "SpeechStarted", "channel": [0, 1], "timestamp": heard.words[0].start_ms / 1000})
        self._in_words = True
        if self._parameters.interim_results:
            self._results(heard.words, heard.end_ms, is_final=False, speech_final=False, from_finalize=False)

    def _results(self, words: tuple[Word, ...], end_ms: int, *, is_final: bool, speech_final: bool, from_finalize: bool) -> None:
        words = tuple(word for word in words if understood(word.text, self._parameters.language))
        text = " ".join(word.text for word in words)
        confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
        mixed = len({language_of(word.text) for word in words}) > 1
        alternative = {
            "transcript": _punctuated(text, words) if self._parameters.punctuate else text,
            "confidence": confidence,
            "words": [
                {
                    "word": word.text,
                    "start": word.start_ms / 1000,
                    "end": word.end_ms / 1000,
                    "confidence": word.confidence,
                    "punctuated_word": word.text,
                    **self._told_of(word, mixed=mixed),
                }
                for word in words
            ],
            **self._told_of_all(words),
        }
        self._tell(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "duration": (end_ms - self._segment_ms) / 1000,
                "start": self._segment_ms / 1000,
                "is_final": is_final,
                "speech_final": speech_final,
                "channel": {"alternatives": [alternative]},
                "metadata": {
                    "request_id": self._request_id,
                    "model_info": {"name": "emulated-nova-3", "version": "0", "arch": "nova-3"},
                    "model_uuid": "00000000-0000-0000-0000-000000000000",
                },
                **({"from_finalize": True} if from_finalize else {}),
            }
        )
        if is_final:
            self._segment_ms = end_ms

    def _told_of(self, word: Word, *, mixed: bool) -> Mapping[str, Any]:
        """In speech that changes its language a word's may be absent: here each third of a mixed final."""
        if self._parameters.language != "multi" or (mixed and word.start_ms % 3 == 0):
            return {}
        return {"language": language_of(word.text)}

    def _told_of_all(self, words: tuple[Word, ...]) -> Mapping[str, Any]:
        if self._parameters.language != "multi":
            return {}
        told = {"languages": by_share(language_of(word.text) for word in words)} if words else {}
        return {**told, "languages_hinted": list(self._parameters.hinted)}


def _punctuated(text: str, words: tuple[Word, ...]) -> str:
    if not words:
        return text
    return text[0].upper() + text[1:] + ("?" if words[0].text in _QUESTIONS else ".")
