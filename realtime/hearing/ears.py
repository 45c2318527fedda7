"""One call's way into the recogniser and the detector of speech: in call time, without gaps, and no word lost with a stream."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from realtime.audio import BYTES_PER_MS, duration_ms, silence
from realtime.engines.ladders import changed_because, engine_of
from realtime.engines.renewing import Renewing
from realtime.hearing import vad
from realtime.hearing.contours import Contour
from realtime.hearing.echo import Echo
from realtime.hearing.unsettled import Unsettled
from realtime.machine import signals
from realtime.ports import ActivityStream, EngineFailed, EngineUnsuited, HearingStream, SpeechToText, Transcript, VoiceActivity

Give = Callable[[signals.Signal], None]
Noticed = Callable[[int, Sequence[tuple[int, float]], Sequence[vad.SpeechChange]], None]
# A longer hole in the carrier's stamps is no lost frame; the clock then jumps with them.
_LONGEST_GAP_MS = 2000
# Where nobody speaks audio is handed on in pieces of this length: to a recogniser each costs a write of its own. Providers take up to 250.
_QUIET_PIECE_MS = 200
# A recogniser that was asked for its last word and gives no sign of life for so long hangs.
_ANSWERS_WITHIN_SECONDS = 3.0


class Ears:
    """Gives SpeechStarted, SpeechStopped, WordsRecognised, EngineTaken, and EngineBroke once. `now_ms` is the call's clock.

    What a recogniser had not settled when its stream broke is given to the next stream, so that its words come once.
    """

    def __init__(
        self,
        recogniser: SpeechToText,
        activity: VoiceActivity,
        thresholds: vad.Thresholds,
        give: Give,
        now_ms: Callable[[], int],
        noticed: Noticed = lambda _origin_ms, _windows, _changes: None,
        *,
        answers_within_seconds: float = _ANSWERS_WITHIN_SECONDS,
    ) -> None:
        # Whoever plays the agent's voice puts it here; without it no sound is compared.
        self.echo: Echo | None = None
        self._answers_within_seconds = answers_within_seconds
        self._recogniser = recogniser
        self._thresholds, self._noticed = thresholds, noticed
        self._give, self._now_ms = give, now_ms
        self._activity: ActivityStream = activity.open(self._windows)
        self._speech = vad.SILENT
        self._contour = Contour()
        self._began_ms = 0
        self._origin_ms: int | None = None
        self._next_ms = self._handed_ms = 0
        self._skipped_ms = 0
        self._unsettled = Unsettled()
        # What nobody has been handed yet, and what the recogniser alone has not.
        self._fresh: list[bytes] = []
        self._held = bytearray()
        self._asked = 0
        self._speaking = False
        self._words_open = False
        self._unanswered: asyncio.TimerHandle | None = None
        self._streams: Renewing[HearingStream] = Renewing("recogniser", self._reach, self._take, self._broke)
        self._began_at_ms = 0
        self._engine = recogniser.name
        self._language = self._served = ""
        self._vocabulary: Sequence[str] = ()
        self.heard_bytes = 0

    async def keep(self, *, language: str, vocabulary: Sequence[str]) -> None:
        """Reach the recogniser, and again whenever its stream is lost, until it cannot be reached: then EngineBroke."""
        self._listen_for(language, vocabulary)
        await self._streams.keep()

    async def connect(self, *, language: str, vocabulary: Sequence[str]) -> None:
        """Reach the recogniser and give it what nobody has settled yet. A failure becomes a signal."""
        self._listen_for(language, vocabulary)
        await self._streams.connect()

    def change_language(self, language: str) -> None:
        """Hear this language from now on: a stream of it is given what nobody has settled yet. Where there is none, all stays as it was."""
        if language != self._language and not self._streams.broken:
            self._language = language
            self._expect(answered=True)
            self._streams.renew()

    def _listen_for(self, language: str, vocabulary: Sequence[str]) -> None:
        # A call that goes on with another worker may have changed it before anything was reached.
        self._language, self._vocabulary = self._language or language, vocabulary

    async def _reach(self, number: int) -> HearingStream:
        try:
            return await self._connected(number)
        except EngineUnsuited:
            if self._served in ("", self._language):
                raise
            self._language = self._served
            return await self._connected(number)

    async def _connected(self, number: int) -> HearingStream:
        language = self._language
        stream = await self._recogniser.connect(language=language, vocabulary=self._vocabulary, listener=partial(self._heard, number))
        if self._streams.serves(number):
            self._served = language
        return stream

    def frame(self, at_ms: int, mulaw: bytes) -> bytes:
        """A frame that begins at `at_ms`; returns what was made of it: lost ones before it as silence, repeated ones nothing."""
        if at_ms != self._next_ms or self._origin_ms is None:
            if self._origin_ms is None:
                self._origin_ms = self._next_ms = self._handed_ms = at_ms
            gap_ms = at_ms - self._next_ms
            if gap_ms < 0:
                return b""
            if gap_ms > _LONGEST_GAP_MS:
                self._hand_on()
                self._skipped_ms += gap_ms
                self._handed_ms = at_ms
            elif gap_ms:
                mulaw = silence(gap_ms) + mulaw
                at_ms -= gap_ms
        self._next_ms = at_ms + len(mulaw) // BYTES_PER_MS
        self._fresh.append(mulaw)
        self._activity.feed(mulaw)
        if self._speaking or self._asked or self._words_open or self._next_ms - self._handed_ms >= _QUIET_PIECE_MS:
            self._hand_on()
        return mulaw

    def finalize(self) -> None:
        """Ask the recogniser for its last word on what it was given."""
        self._asked += 1
        if self._streams.stream is not None:
            self._hand_on()
            self._streams.stream.finalize()
            self._expect()

    async def close(self) -> None:
        """Hear nothing more."""
        self._expect(answered=True)
        self._activity.close()
        await self._streams.close()

    @property
    def heard_ms(self) -> int:
        """How much audio the recognisers were given, what was given twice included: they count it so."""
        return self.heard_bytes // BYTES_PER_MS

    def _take(self, stream: HearingStream) -> None:
        before, self._engine = self._engine, engine_of(stream, self._recogniser.name)
        lost, self._streams.lost_because = self._streams.lost_because, ""
        reason = lost or changed_because(stream, before, self._recogniser.name)
        self._keep_fresh()
        self._began_at_ms = self._unsettled.from_ms
        audio = self._unsettled.audio()
        self._held.clear()
        if reason and not self._streams.broken:
            self._give(
                signals.EngineTaken(
                    at_ms=self._now_ms(), engine=signals.Engine.RECOGNISER, name=self._engine, instead_of=before, reason=reason,
                    repeated_ms=duration_ms(audio),
                )
            )  # fmt: skip
        if audio:
            self._send(audio)
        if self._asked:
            # One answer for all that was asked before: it covers everything given until now.
            self._asked = 1
            stream.finalize()
            self._expect()

    @property
    def _idle(self) -> bool:
        """Whether nobody speaks and the recogniser owes nothing."""
        return not (self._speaking or self._asked or self._words_open)

    def _keep_fresh(self) -> None:
        """Have what has come at hand for every question that is asked here."""
        if self._fresh:
            mulaw = b"".join(self._fresh)
            self._fresh.clear()
            if self.echo is not None:
                self.echo.heard(self._next_ms, mulaw)
            self._contour.feed(self._next_ms, mulaw)
            self._unsettled.add(mulaw)
            if self._streams.stream is not None:
                self._held += mulaw

    def _hand_on(self) -> None:
        """The same, and give the recogniser what it has not been given."""
        self._keep_fresh()
        self._handed_ms = self._next_ms
        if self._held:
            self._send(bytes(self._held))
            self._held.clear()

    def _send(self, mulaw: bytes) -> None:
        if self._streams.stream is not None and not self._streams.broken:
            self.heard_bytes += len(mulaw)
            self._streams.stream.send(mulaw)

    def _expect(self, *, answered: bool = False) -> None:
        """Wait for an answer from now on, or no longer."""
        if answered and self._unanswered is not None:
            self._unanswered.cancel()
            self._unanswered = None
        elif not answered and self._unanswered is None:
            self._unanswered = asyncio.get_running_loop().call_later(self._answers_within_seconds, self._hangs, self._streams.number)

    def _hangs(self, number: int) -> None:
        self._unanswered = None
        self._lose(number, self._engine, "no answer in time")

    def _call_ms(self, given_ms: int) -> int:
        return given_ms + (self._origin_ms or 0) + self._skipped_ms

    def _quiet_ms(self, stream_ms: int) -> int:
        return self._contour.quiet_ms(self._call_ms(stream_ms))

    def _windows(self, windows: Sequence[tuple[int, float]]) -> None:
        if self._speech is vad.SILENT and max([probability for _, probability in windows]) < self._thresholds.stop_probability:
            # Nothing was said, and nothing begins: most of a call is this.
            self._noticed(self._call_ms(0), windows, ())
            if self._idle:
                self._unsettled.quiet()
            return
        self._keep_fresh()
        if self.echo is not None:
            windows = [(end_ms, self._but_for_echo(self.echo, end_ms, probability)) for end_ms, probability in windows]
        self._speech, changes = vad.steps(self._speech, self._thresholds, windows, self._quiet_ms)
        self._noticed(self._call_ms(0), windows, changes)
        for change in changes:
            at_ms, since_ms = self._now_ms(), self._call_ms(change.at_ms)
            self._speaking = isinstance(change, vad.SpeechStarted)
            if isinstance(change, vad.SpeechStarted):
                self._began_ms = self._contour.began(since_ms)
                self._give(signals.SpeechStarted(at_ms=at_ms, since_ms=min(self._began_ms, at_ms)))
            else:
                ended_ms = max(self._contour.ended(since_ms), self._began_ms)
                self._give(signals.SpeechStopped(at_ms=at_ms, ended_ms=min(ended_ms, at_ms)))
        if self._idle:
            self._unsettled.quiet()
        elif self._held:
            self._hand_on()

    def _but_for_echo(self, echo: Echo, end_ms: int, probability: float) -> float:
        """The agent's own voice is no voice of the caller's."""
        return 0.0 if probability >= self._thresholds.stop_probability and echo.explains(self._call_ms(end_ms)) else probability

    def _heard(self, number: int, heard: Transcript | EngineFailed) -> None:
        if not self._streams.serves(number):
            return
        if isinstance(heard, EngineFailed):
            self._lose(number, heard.engine, heard.reason)
            return
        self._streams.worked()
        self._words_open = bool(heard.text) and not heard.is_final
        if heard.is_final:
            self._settled(heard)
        self._expect(answered=True)
        if self._asked:
            self._expect()
        if heard.text or heard.from_finalize:
            start_ms, end_ms = heard.start_ms + self._began_at_ms, heard.end_ms + self._began_at_ms
            self._give(
                signals.WordsRecognised(
                    at_ms=self._now_ms(), text=heard.text, is_final=heard.is_final, from_finalize=heard.from_finalize,
                    start_ms=self._call_ms(start_ms), end_ms=self._call_ms(end_ms), confidence=heard.confidence,
                    turn=heard.turn, quiet_ms=self._quiet_behind(heard), languages=heard.languages,
                )
            )  # fmt: skip

    def _quiet_behind(self, heard: Transcript) -> int:
        """An edge of speech that the detector has not seen yet; asked for where it may be one."""
        return self._contour.quiet_ms(self._next_ms) if self._speaking and not heard.is_final else 0

    def _settled(self, final: Transcript) -> None:
        settled_ms = final.end_ms if final.settled_ms is None else final.settled_ms
        self._unsettled.settle(settled_ms + self._began_at_ms)
        if final.from_finalize:
            self._asked = max(0, self._asked - 1)

    def _lose(self, number: int, engine: str, reason: str) -> None:
        """The stream is of no use any more; whoever keeps us opens another."""
        if self._streams.serves(number):
            self._expect(answered=True)
            self._streams.lose(engine, reason)

    def _broke(self, engine: str, reason: str) -> None:
        self._give(signals.EngineBroke(at_ms=self._now_ms(), engine=signals.Engine.RECOGNISER, name=engine, reason=reason))
