"""The agent's own voice, come back over the line, interrupts nothing; a caller who speaks over it does, as soon as over silence."""

import asyncio
import statistics
from dataclasses import dataclass, field

import numpy as np
import pytest

from events.calls.talking import AgentInterrupted, AgentTurn, CallerTurn, Dismissal, InterruptionDismissed
from infra.adapters.flite import say
from infra.adapters.silero.detector import SileroVoiceActivity
from realtime.audio import FRAME_BYTES, FRAME_MS, decode, encode, saturated
from realtime.hearing import vad
from realtime.hearing.ears import Ears
from realtime.hearing.echo import Echo, Thresholds
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Thresholds as Briefed
from realtime.machine.signals import Signal, SpeechStarted
from tests.realtime.scene import Scene, opened
from tests.realtime.test_barge_in import LONG, SENTENCES, talking, turns
from tests.realtime.world import TextEars

OFF = 1.0
AGENT = "Let me explain. First you take the red cable; then you plug it into the box, and finally you press the green button."
CALLER = "Wait, I need it on Sunday please."
AT_MS = 1500


@dataclass(frozen=True, slots=True)
class Voices:
    agent: np.ndarray
    caller: np.ndarray
    noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def echo(self, delay_ms: int, level_db: float, room_ms: int = 0) -> np.ndarray:
        """The agent's voice after a while, softer, and with the room in which a telephone lies."""
        sound = self.agent
        if room_ms:
            tail = np.exp(-np.arange(room_ms * 8) / (room_ms * 2)) * self.noise.normal(size=room_ms * 8)
            tail[0] = 3.0
            sound = np.convolve(sound, tail / np.sqrt((tail**2).sum()))
        return np.concatenate((np.zeros(delay_ms * 8), sound)) * 10 ** (level_db / 20)

    def line(self, echo: np.ndarray, *, caller_db: float | None = None) -> bytes:
        """What the microphone hears, over the telephone."""
        line = np.concatenate((echo, np.zeros(8000)))
        if caller_db is not None:
            line[AT_MS * 8 : AT_MS * 8 + len(self.caller)] += self.caller[: len(line) - AT_MS * 8] * 10 ** (caller_db / 20)
        return encode(saturated(line + self.noise.normal(size=len(line)) * 8))


@pytest.fixture(scope="module")
def voices() -> Voices:
    agent, caller = asyncio.run(say(AGENT, voice="slt")), asyncio.run(say(CALLER, voice="rms"))
    return Voices(decode(agent).astype(float), decode(caller).astype(float))


async def noticed(voices: Voices, line: bytes, *, likeness: float = Briefed().echo_likeness) -> list[SpeechStarted]:
    """When the real detector says that somebody speaks, while the agent's voice has been sent out."""
    given: list[Signal] = []
    echo, at_ms = Echo(Thresholds(likeness=likeness, below_db=Briefed().echo_below_db)), 0
    echo.sent(0, encode(saturated(voices.agent)))
    ears = Ears(TextEars(), SileroVoiceActivity(batch_ms=0.0), vad.Thresholds(), given.append, lambda: at_ms)
    ears.echo = echo
    for at in range(0, len(line) - FRAME_BYTES, FRAME_BYTES):
        ears.frame(at_ms, line[at : at + FRAME_BYTES])
        at_ms += FRAME_MS
        for _ in range(3):
            await asyncio.sleep(0)
    await ears.close()
    return [signal for signal in given if isinstance(signal, SpeechStarted)]


class TestEcho:
    @pytest.mark.parametrize(
        ("delay_ms", "level_db", "room_ms"), [(100, -15, 0), (400, -15, 20), (250, -20, 0), (180, -25, 60), (330, -30, 20)]
    )
    async def test_of_a_real_voice_is_no_speech(self, voices: Voices, delay_ms: int, level_db: float, room_ms: int) -> None:
        line = voices.line(voices.echo(delay_ms, level_db, room_ms))
        assert await noticed(voices, line) == []

    async def test_would_be_speech_if_nobody_compared(self, voices: Voices) -> None:
        assert await noticed(voices, voices.line(voices.echo(250, -20)), likeness=OFF) != []

    async def test_hides_no_caller(self, voices: Voices) -> None:
        late = []
        for delay_ms, level_db, caller_db in ((100, -15, 0), (250, -20, 0), (400, -30, 0), (200, -20, -6)):
            starts = await noticed(voices, voices.line(voices.echo(delay_ms, level_db, 20), caller_db=caller_db))
            late.append(next(start.at_ms for start in starts if start.at_ms >= AT_MS) - AT_MS)
        assert statistics.median(late) < 200

    def test_is_nothing_while_the_agent_is_silent(self) -> None:
        echo = Echo(Thresholds())
        sound = encode(saturated(np.sin(np.arange(4000) * 0.3) * 5000))
        echo.heard(500, sound)
        assert not echo.explains(500)
        echo.sent(0, sound)
        echo.cut(0)
        assert not echo.explains(500)


class TestWordsOfTheAgent:
    def recognised(self, scene: Scene, words: str) -> Scene:
        return scene.recognised(words, started_ms=scene.at_ms - 700, ended_ms=scene.at_ms)

    def test_interrupt_nothing_though_no_voice_was_noticed(self) -> None:
        scene = self.recognised(talking(), "nine to five")
        before = len(scene.fact(CallerTurn))
        scene.hears_all()
        assert opened(turns(scene)[-1].heard) == LONG
        assert len(scene.fact(CallerTurn)) == before

    def test_that_nobody_said_interrupt(self) -> None:
        scene = self.recognised(talking(), "nine to seven please")
        assert turns(scene)[-1].interrupted

    def test_are_no_turn_when_they_come_after_its_end(self) -> None:
        scene = talking().hears_all().wait(300)
        before = len(scene.fact(CallerTurn))
        self.recognised(scene, "closed as ever").wait(2500)
        assert len(scene.fact(CallerTurn)) == before
        scene.wait(3000)
        self.recognised(scene, "closed as ever").wait(2500)
        assert len(scene.fact(CallerTurn)) == before + 1

    def test_may_be_the_callers_own_when_a_voice_was_noticed_and_they_are_few(self) -> None:
        scene = talking().starts_speaking().wait(300)
        scene.falls_silent("on weekdays")
        assert turns(scene)[-1].interrupted

    def test_are_the_callers_when_they_are_said_after_the_agent_and_a_voice_was_noticed(self) -> None:
        scene = talking().hears_all().wait(200)
        before = len(scene.fact(CallerTurn))
        scene.starts_speaking().wait(900)
        scene.falls_silent("from nine to five on weekdays").wait(3000)
        assert [opened(turn.words) for turn in scene.fact(CallerTurn)[before:]] == ["from nine to five on weekdays"]

    def test_let_the_agent_go_on_when_they_are_many(self) -> None:
        scene = talking().starts_speaking().wait(300)
        scene.falls_silent("open from nine to five on").hears_all()
        (fact,) = scene.fact(InterruptionDismissed)
        assert (fact.why, fact.words) == (Dismissal.ECHO, None)
        assert scene.fact(AgentInterrupted) == []
        assert [opened(turn.heard) for turn in scene.fact(AgentTurn)][-1] == LONG

    def test_of_a_reply_that_was_cut_are_known_still(self) -> None:
        scene = talking().starts_speaking().wait(1000)
        asked = len(scene.all(do.AskModel))
        scene.recognised(SENTENCES[0][:30], started_ms=scene.at_ms - 1500, ended_ms=scene.at_ms - 1000, from_finalize=False)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 100)
        scene.wait(100).recognised("", started_ms=scene.at_ms, ended_ms=scene.at_ms).wait(20)
        assert len(scene.all(do.AskModel)) == asked
