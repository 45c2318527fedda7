"""Amazon Polly by aiobotocore: a request for each text, its 16-bit sound made telephone sound as it comes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import numpy as np
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from realtime.audio import RATE_HZ, encode
from realtime.ports import INSTEAD, EngineFailed, EngineUnsuited, VoiceAudio, VoiceFlushed, VoiceListener

NAME: Final = "polly/neural"
OWN: Final = "polly/"
"""Before the name of a voice of Polly's (`polly/Joanna`); any other name is of a voice that one of Polly's stands in for."""
# Voices that the neural engine has (docs.aws.amazon.com/polly/latest/dg/neural-voices.html), by the language that they speak.
VOICES: Final[Mapping[str, str]] = {
    "en": "Joanna", "es": "Lupe", "de": "Vicki", "fr": "Lea", "it": "Bianca", "ja": "Kazuha", "nl": "Laura", "pt": "Camila",
}  # fmt: skip
# "TextLengthExceededException": a request has no more billed characters (docs.aws.amazon.com/polly/latest/dg/limits.html).
LONGEST_TEXT: Final = 3000
_CONNECTIONS: Final = 256
_KEPT_SECONDS: Final = 55
_CHUNK_BYTES: Final = 2 * RATE_HZ // 10
_MOST_WAITING: Final = 256
_SAMPLE_BYTES: Final = 2


@asynccontextmanager
async def open_polly(*, region: str, endpoint_url: str | None = None, voices: Mapping[str, str] = VOICES) -> AsyncIterator["PollyVoice"]:
    """Credentials come the way every AWS program finds them. `voices`: which one stands in for others, by language."""
    config = AioConfig(
        connect_timeout=1, read_timeout=5, max_pool_connections=_CONNECTIONS, tcp_keepalive=True,
        connector_args={"keepalive_timeout": _KEPT_SECONDS}, retries={"total_max_attempts": 2, "mode": "standard"},
    )  # fmt: skip
    async with get_session().create_client("polly", region_name=region, endpoint_url=endpoint_url, config=config) as client:
        yield PollyVoice(client, {**VOICES, **voices})


def requests(text: str) -> Iterator[str]:
    """A text in as few pieces as the provider takes, cut between words."""
    rest = text.strip()
    while len(rest) > LONGEST_TEXT:
        cut = rest.rfind(" ", 1, LONGEST_TEXT + 1)
        cut = LONGEST_TEXT if cut < 0 else cut
        yield rest[:cut]
        rest = rest[cut:].strip()
    if rest:
        yield rest


class PollyStream:
    """One call's texts in their order, one request at a time. What breaks off in the middle breaks the stream: half a text was given."""

    def __init__(self, client: Any, voice: str, listener: VoiceListener) -> None:
        self._client, self._voice = client, voice
        self._listener: VoiceListener | None = listener
        self._texts: list[str] = []
        self._waiting: deque[tuple[int, str]] = deque()
        self._something = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._speaking = self._start()

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
        if len(self._waiting) > _MOST_WAITING:
            self._fail(f"{_MOST_WAITING} utterances wait to be spoken")

    def clear(self) -> None:
        self._texts.clear()
        self._waiting.clear()
        if self._listener is not None:
            # Its request ends at its next turn; it is replaced already, so it tells nothing until then.
            self._speaking.cancel()
            self._speaking = self._start()

    async def close(self) -> None:
        self._listener = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._run(), name="polly-speaking")
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
                for piece in requests(text):
                    await self._say(piece)
                self._tell(VoiceFlushed(utterance=utterance))
        except ClientError as cause:
            self._broke(str(cause.response.get("Error", {}).get("Code", "refused")))
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as cause:
            self._broke(type(cause).__name__)

    async def _say(self, text: str) -> None:
        answer = await self._client.synthesize_speech(
            Engine="neural", OutputFormat="pcm", SampleRate=str(RATE_HZ), Text=text, TextType="text", VoiceId=self._voice
        )
        half = b""
        async with answer["AudioStream"] as body:
            async for chunk in body.iter_chunks(_CHUNK_BYTES):
                pcm = half + chunk
                whole = len(pcm) - len(pcm) % _SAMPLE_BYTES
                half = pcm[whole:]
                if whole:
                    self._tell(VoiceAudio(mulaw=encode(np.frombuffer(pcm[:whole], "<i2").astype(np.int16))))

    def _tell(self, told: VoiceAudio | VoiceFlushed) -> None:
        if self._listener is not None and asyncio.current_task() is self._speaking:
            self._listener(told)

    def _broke(self, reason: str) -> None:
        if asyncio.current_task() is self._speaking:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener(EngineFailed(engine=NAME, reason=reason))


class PollyVoice:
    """The voice as a call sees it, by a client that all calls share. A stream holds no connection between its texts."""

    name = NAME
    embedded = False

    def __init__(self, client: Any, voices: Mapping[str, str] = VOICES) -> None:
        self._client, self._voices = client, voices

    async def connect(self, *, voice: str, listener: VoiceListener) -> PollyStream:
        return PollyStream(self._client, self._own(voice), listener)

    def _own(self, voice: str) -> str:
        """Deepgram's names end with their language (`aura-2-thalia-en`). Raises EngineUnsuited for one that no voice is known for."""
        for name in voice.split(INSTEAD):
            if name.startswith(OWN):
                return name.removeprefix(OWN)
        language = voice.rpartition("-")[2].lower() if voice else "en"
        if language not in self._voices:
            raise EngineUnsuited(NAME, f"no voice stands in for {voice}")
        return self._voices[language]
