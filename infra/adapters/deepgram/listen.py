"""Deepgram's Nova-3 by its own SDK: telephone audio as it comes, words as they are recognised."""

import math
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from infra.adapters.deepgram.connecting import deepgram_client, opened
from infra.adapters.deepgram.hearing import HearingSocket
from realtime.audio import BYTES_PER_MS, RATE_HZ
from realtime.ports import SEVERAL, HearingListener, Transcript

NAME: Final = "deepgram/nova-3"
# A frame by itself costs as much to send as five of them; whoever waits for a final is not kept waiting by what is gathered.
_CHUNK_BYTES: Final = 100 * BYTES_PER_MS
# The provider hangs up after ten seconds without audio.
KEEP_ALIVE_SECONDS: Final = 4.0
_ENDPOINTING_MS: Final = 300
# Key terms may have 500 tokens together.
_KEY_TERM_TOKENS: Final = 450
_TOKENS_PER_WORD: Final = 1.4
_COVERED_WITHIN_MS: Final = 40


def key_terms(vocabulary: Sequence[str]) -> list[str]:
    """As many phrases as the provider takes, the short ones first: they are the names and terms that it may not know."""
    chosen: list[str] = []
    left = float(_KEY_TERM_TOKENS)
    for phrase in sorted(dict.fromkeys(vocabulary), key=lambda phrase: len(phrase.split())):
        left -= math.ceil(len(phrase.split()) * _TOKENS_PER_WORD)
        if left < 0:
            break
        chosen.append(phrase)
    return chosen


class ListenStream(HearingSocket):
    """One call's stream into Nova-3."""

    def __init__(self, socket: Any, stack: AsyncExitStack, listener: HearingListener, keep_alive_seconds: float) -> None:
        self._finalizing_ms: deque[int] = deque()
        super().__init__(NAME, socket, stack, listener, chunk_bytes=_CHUNK_BYTES, quiet_seconds=keep_alive_seconds)

    def finalize(self) -> None:
        if self._listener is not None:
            self._finalizing_ms.append(self._given_bytes // BYTES_PER_MS)
            self.hand_over(order=True)

    async def keep_alive(self) -> None:
        await self._socket.send_keep_alive()

    async def ask(self) -> None:
        await self._socket.send_finalize()

    def told(self, message: Any) -> None:
        if getattr(message, "type", None) == "Results":
            self._heard(message)

    def _heard(self, results: Any) -> None:
        best = results.channel.alternatives[0]
        end_ms = round(1000 * (results.start + results.duration))
        is_final = bool(results.is_final)
        asked_for = is_final and self._answers_finalize(end_ms, marked=bool(results.from_finalize))
        if self._listener is None:
            return
        words = best.words or []
        told = Counter(str(word.language) for word in words if word.language) if is_final else Counter[str]()
        self._listener(
            Transcript(
                text=best.transcript,
                is_final=is_final,
                from_finalize=asked_for,
                start_ms=round(1000 * (words[0].start if words else results.start)),
                end_ms=round(1000 * words[-1].end) if words else end_ms,
                confidence=float(best.confidence or 0),
                settled_ms=end_ms if is_final else None,
                languages=tuple(sorted(told.items())),
            )
        )

    def _answers_finalize(self, end_ms: int, *, marked: bool) -> bool:
        """Whether a final answers a `finalize`: one of five is not marked so, but it covers all audio given until then."""
        if not self._finalizing_ms or not (marked or end_ms >= self._finalizing_ms[0] - _COVERED_WITHIN_MS):
            return False
        self._finalizing_ms.popleft()
        return True


class DeepgramListen:
    """The recogniser as a call sees it. Made once for a process. A socket without audio is kept open every `keep_alive_seconds`."""

    name = NAME
    embedded = False

    def __init__(self, api_key: str, *, base_url: str | None = None, keep_alive_seconds: float = KEEP_ALIVE_SECONDS) -> None:
        self._client = deepgram_client(api_key, base_url)
        self._keep_alive_seconds = keep_alive_seconds

    async def connect(self, *, language: str, vocabulary: Sequence[str], listener: HearingListener) -> ListenStream:
        """Of several languages the model tells for each word which one it is of, and is told which ones to expect."""
        several = language.split(SEVERAL) if SEVERAL in language else []
        connection = self._client.listen.v1.connect(
            model="nova-3",
            language="multi" if several else language,
            language_hint=[tag.partition("-")[0] for tag in several] or None,
            encoding="mulaw",
            sample_rate=RATE_HZ,
            channels=1,
            interim_results=True,
            punctuate=True,
            endpointing=_ENDPOINTING_MS,
            keyterm=key_terms(vocabulary),
            mip_opt_out=True,
        )
        stack = AsyncExitStack()
        return ListenStream(await opened(NAME, connection, stack), stack, listener, self._keep_alive_seconds)
