"""Amazon Polly by aiobotocore: a request for each text, its 16-bit sound made telephone sound as it comes."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import aiohttp
import numpy as np
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from infra.adapters.one_text_at_a_time import OneTextAtATime
from realtime.audio import RATE_HZ, encode
from realtime.ports import INSTEAD, EngineUnavailable, EngineUnsuited, VoiceListener

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


class PollyVoice:
    """The voice as a call sees it, by a client that all calls share. A stream holds no connection between its texts."""

    name = NAME
    embedded = False

    def __init__(self, client: Any, voices: Mapping[str, str] = VOICES) -> None:
        self._client, self._voices = client, voices

    async def connect(self, *, voice: str, listener: VoiceListener) -> OneTextAtATime:
        return OneTextAtATime(NAME, partial(self._sound, self._own(voice)), listener)

    async def _sound(self, voice: str, text: str) -> AsyncGenerator[bytes, None]:
        try:
            for piece in requests(text):
                answer = await self._client.synthesize_speech(
                    Engine="neural", OutputFormat="pcm", SampleRate=str(RATE_HZ), Text=piece, TextType="text", VoiceId=voice
                )
                half = b""
                async with answer["AudioStream"] as body:
                    async for chunk in body.iter_chunks(_CHUNK_BYTES):
                        pcm = half + chunk
                        whole = len(pcm) - len(pcm) % _SAMPLE_BYTES
                        half = pcm[whole:]
                        if whole:
                            yield encode(np.frombuffer(pcm[:whole], "<i2").astype(np.int16))
        except ClientError as cause:
            raise EngineUnavailable(NAME, str(cause.response.get("Error", {}).get("Code", "refused"))) from cause
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as cause:
            raise EngineUnavailable(NAME, type(cause).__name__) from cause

    def _own(self, voice: str) -> str:
        """Deepgram's names end with their language (`aura-2-thalia-en`). Raises EngineUnsuited for one that no voice is known for."""
        for name in voice.split(INSTEAD):
            if name.startswith(OWN):
                return name.removeprefix(OWN)
        language = voice.rpartition("-")[2].lower() if voice else "en"
        if language not in self._voices:
            raise EngineUnsuited(NAME, f"no voice stands in for {voice}")
        return self._voices[language]
