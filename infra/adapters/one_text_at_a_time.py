"""A call's stream to a voice that says one text at a time and knows no `clear`: texts in their order, and nothing stale."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeAlias

from realtime.ports import EngineFailed, EngineUnavailable, VoiceAudio, VoiceFlushed, VoiceListener

Say: TypeAlias = Callable[[str], AsyncGenerator[bytes, None]]
"""The mu-law of a text, as it comes. Raises EngineUnavailable; may be cancelled at any time."""
MOST_WAITING: Final = 256


class OneTextAtATime:
    """A VoiceStream. What breaks off in the middle breaks the stream, for half a text was given."""

    def __init__(self, engine: str, say: Say, listener: VoiceListener) -> None:
        self._engine, self._say = engine, say
        self._listener: VoiceListener | None = listener
        self._texts: list[str] = []
        self._waiting: deque[tuple[int, str]] = deque()
        self._something = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._speaking: asyncio.Task[None] | None = self._start()

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        if self._listener is None:
            return
        if text.strip():
            self._texts.append(text.strip())
        if not flush:
            return
        self._waiting.append((utterance, " ".join(self._texts)))
        self._texts.clear()
        self._something.set()
        if len(self._waiting) > MOST_WAITING:
            self._fail(f"{MOST_WAITING} utterances wait to be spoken")

    def clear(self) -> None:
        self._texts.clear()
        self._waiting.clear()
        if self._listener is not None and self._speaking is not None:
            # The task ends with what it does at its next turn; it is replaced already, so it tells nothing until then.
            self._speaking.cancel()
            self._speaking = self._start()

    async def close(self) -> None:
        self._listener = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # How it ended holds us, and we hold it: neither is to wait for a collector.
        self._speaking = None

    def _start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(), name=f"{self._engine} speaking")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self) -> None:
        try:
            while True:
                while not self._waiting:
                    self._something.clear()
                    await self._something.wait()
                utterance, text = self._waiting.popleft()
                async with aclosing(self._say(text)) as sound:
                    async for mulaw in sound:
                        self._tell(VoiceAudio(mulaw=mulaw))
                self._tell(VoiceFlushed(utterance=utterance))
        except EngineUnavailable as cause:
            if asyncio.current_task() is self._speaking:
                self._fail(cause.reason)

    def _tell(self, told: VoiceAudio | VoiceFlushed) -> None:
        if self._listener is not None and asyncio.current_task() is self._speaking:
            self._listener(told)

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(EngineFailed(engine=self._engine, reason=reason))
