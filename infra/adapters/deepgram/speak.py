"""Deepgram's Aura-2 by its own SDK: text in, telephone audio out, and nothing stale after a `clear`."""

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog
from deepgram.speak.v1.types import SpeakV1Text

from infra.adapters.deepgram.connecting import closed, deepgram_client, opened
from realtime.audio import RATE_HZ
from realtime.ports import INSTEAD, EngineFailed, EngineUnsuited, VoiceAudio, VoiceFlushed, VoiceListener

log = structlog.get_logger()

NAME: Final = "deepgram/aura-2"
DEFAULT_VOICE: Final = "aura-2-thalia-en"
_MOST_WAITING: Final = 512
_FLUSH: Final = "Flush"
_CLEAR: Final = "Clear"


class SpeakStream:
    """One socket. What arrives between a `clear` and the provider's `Cleared` belongs to what was cleared, and is dropped."""

    def __init__(self, socket: Any, stack: AsyncExitStack, listener: VoiceListener) -> None:
        self._socket = socket
        self._stack = stack
        self._listener: VoiceListener | None = listener
        self._orders: asyncio.Queue[str | SpeakV1Text] = asyncio.Queue(_MOST_WAITING)
        self._flushing: deque[list[int]] = deque()
        self._text_given = False
        self._clearing = 0
        self._tasks: tuple[asyncio.Task[None], ...] = (
            asyncio.create_task(self._send(), name="deepgram-speak-send"),
            asyncio.create_task(self._read(), name="deepgram-speak-read"),
        )

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        if text.strip():
            self._order(SpeakV1Text(type="Speak", text=text))
            self._text_given = True
        if not flush:
            return
        if self._text_given:
            self._order(_FLUSH)
            self._flushing.append([utterance])
        elif self._flushing:
            # Nothing new to say: delivered when what is under way is delivered.
            self._flushing[-1].append(utterance)
        else:
            # Not from within the caller's own call: a listener is told by the loop.
            asyncio.get_running_loop().call_soon(self._tell, VoiceFlushed(utterance=utterance))
        self._text_given = False

    def clear(self) -> None:
        if not self._flushing and not self._text_given:
            return
        while not self._orders.empty():
            if self._orders.get_nowait() == _CLEAR:
                self._clearing -= 1
        self._flushing.clear()
        self._text_given = False
        self._clearing += 1
        self._order(_CLEAR)

    async def close(self) -> None:
        self._listener = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # How a task ended holds us, and we hold it: neither is to wait for a collector.
        self._tasks = ()
        await closed(self._stack)

    def _order(self, order: str | SpeakV1Text) -> None:
        if self._listener is None:
            return
        try:
            self._orders.put_nowait(order)
        except asyncio.QueueFull:
            self._fail("the socket takes no text")

    async def _send(self) -> None:
        try:
            while True:
                order = await self._orders.get()
                if order == _FLUSH:
                    await self._socket.send_flush()
                elif order == _CLEAR:
                    await self._socket.send_clear()
                elif isinstance(order, SpeakV1Text):
                    await self._socket.send_text(order)
        except OSError as error:
            self._fail(str(error))

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    if message and not self._clearing:
                        self._tell(VoiceAudio(mulaw=message))
                else:
                    self._told(message)
        except OSError as error:
            self._fail(str(error))
        else:
            self._fail("the provider closed the stream")

    def _told(self, message: Any) -> None:
        # By name and never by class: `Cleared` has the shape of `Flushed`, and the SDK makes a `SpeakV1Flushed` of it.
        match getattr(message, "type", None):
            case "Flushed" if not self._clearing and self._flushing:
                for utterance in self._flushing.popleft():
                    self._tell(VoiceFlushed(utterance=utterance))
            case "Cleared":
                self._clearing = max(self._clearing - 1, 0)
            case "Warning":
                log.warning("voice.warned", code=message.code, description=message.description)
                if "flush" in message.description.lower():
                    # The flush was not carried out: its text would be silence, and the sound after it out of step. Over another socket,
                    # which has flushes of its own, what was not delivered is said again.
                    self._fail(f"warned: {message.description}")
            case "Error":
                self._fail(str(getattr(message, "description", "an error without words")))

    def _tell(self, told: VoiceAudio | VoiceFlushed) -> None:
        if self._listener is not None:
            self._listener(told)

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(EngineFailed(engine=NAME, reason=reason))


class DeepgramSpeak:
    """The voice as a call sees it. Made once for a process."""

    name = NAME
    embedded = False

    def __init__(self, api_key: str, *, base_url: str | None = None) -> None:
        self._client = deepgram_client(api_key, base_url)

    async def connect(self, *, voice: str, listener: VoiceListener) -> SpeakStream:
        """Raises EngineUnsuited for a voice of another provider's (`polly/Joanna`)."""
        own = [name for name in voice.split(INSTEAD) if "/" not in name]
        if not own:
            raise EngineUnsuited(NAME, f"{voice} is not a voice of this provider's")
        connection = self._client.speak.v1.connect(model=own[0] or DEFAULT_VOICE, encoding="mulaw", sample_rate=RATE_HZ, mip_opt_out=True)
        stack = AsyncExitStack()
        return SpeakStream(await opened(NAME, connection, stack), stack, listener)
