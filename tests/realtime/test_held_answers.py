"""A turn is over when its answer can be heard: thought and spoken ahead, kept back, and dropped unheard when the caller goes on."""

from dataclasses import replace

import pytest

from events.calls.talking import AgentTurn, CallerTurn
from events.calls.thinking import AnswerSpeculated
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.briefing import Thresholds
from realtime.machine.signals import Engine
from realtime.ports import EngineFailed, TokenUsage, ToolUse, VoiceAudio, VoiceFlushed, VoiceListener
from realtime.speaking.mouth import Mouth
from realtime.speaking.playout import flushes_left
from realtime.thinking.guardrails import Guardrail
from realtime.thinking.speculating import FLUSHES_TO_SPARE
from tests.realtime.scene import AT_ONCE, VOICE_DELAY_MS, Scene, briefing, opened

WORDS, ANSWER = "when are you open on friday please", "We open at nine. Until five."
BOOK = ToolUse(tool_use_id="b1", name="book_slot", arguments={"day": "friday"})


def asking(thresholds: Thresholds | None = None, **changes: object) -> Scene:
    """The caller has asked, and their last word is known. Two flushes a minute are enough for the beginning of the call."""
    scene = Scene(briefing(thresholds=thresholds or Thresholds(), **changes)).agreed().wait(30_000)
    scene.starts_speaking().wait(800)
    scene.effects.clear()
    return scene.falls_silent(WORDS)


def heard(scene: Scene) -> list[str]:
    return [opened(fact.heard) for fact in scene.fact(AgentTurn)]


def answered(scene: Scene, text: str, *uses: ToolUse) -> Scene:
    """The model's answer to the question that was put before the turn was over."""
    draft = scene.state.draft
    assert draft is not None
    for word in text.split():
        scene.tell(signals.ModelSaid, asked=draft.asked, text=f"{word} ")
    for use in uses:
        scene.tell(signals.ModelWantsTool, asked=draft.asked, use=use)
    return scene


class TestATurnWhoseAnswerIsInTheMaking:
    def test_is_over_when_the_answer_can_be_heard_which_is_at_once(self) -> None:
        scene = answered(asking(), ANSWER)
        assert [effect.text for effect in scene.all(do.SpeakAhead)] == ["We open at nine."]
        assert (scene.fact(CallerTurn), scene.all(do.Speak), scene.all(do.Play)) == ([], [], [])
        scene.wait(VOICE_DELAY_MS)
        (turn,) = scene.fact(CallerTurn)
        assert scene.spoken == ["We open at nine.", "Until five."]
        assert scene.all(do.Play)[0].from_sample == scene.at_ms * 8
        assert opened(turn.words) == WORDS

    def test_is_decided_on_the_words_alone_where_the_version_waits_for_no_answer(self) -> None:
        assert len(asking(AT_ONCE).fact(CallerTurn)) == 1

    def test_costs_one_flush_and_its_characters_once(self) -> None:
        scene, other = answered(asking(), "We open at nine. "), asking(AT_ONCE)
        scene.wait(VOICE_DELAY_MS)
        other.tell(signals.ModelSaid, asked=other.state.reply.asked if other.state.reply else 0, text="We open at nine. ")
        other.wait(VOICE_DELAY_MS)
        assert flushes_left(scene.state.speech, scene.at_ms) == pytest.approx(flushes_left(other.state.speech, scene.at_ms), abs=0.1)
        assert scene.state.reply is not None
        assert scene.state.reply.spent.characters == len("We open at nine.")
        assert scene.fact(AnswerSpeculated) == [], "it guessed nothing: it was begun on the last words"

    def test_goes_on_when_the_caller_does_and_nobody_hears_a_word(self) -> None:
        scene = answered(asking(), ANSWER)
        scene.tell(signals.SpeechStarted, since_ms=scene.at_ms)
        assert scene.all(do.ForgetAhead) == [do.ForgetAhead()]
        scene.wait(800).falls_silent("and on monday please")
        draft = scene.state.draft
        assert draft is not None
        assert draft.words == f"{WORDS} and on monday please"
        scene.tell(signals.ModelDone, asked=draft.asked - 1, reason="end_turn", usage=TokenUsage(input_tokens=1, output_tokens=2))
        (dropped,) = scene.fact(AnswerSpeculated)
        assert (dropped.outcome, dropped.spent.characters, dropped.spent.output_tokens) == ("went-on", len("We open at nine."), 2)
        answered(scene, "Both days. ").wait(300)
        assert scene.spoken == ["Both days."]
        assert [opened(turn.words) for turn in scene.fact(CallerTurn)] == [f"{WORDS} and on monday please"]
        assert not any("nine" in message.text for message in scene.request.messages)

    def test_is_kept_for_the_end_of_the_patience_where_more_may_come(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds())).agreed().wait(30_000).starts_speaking().wait(800)
        scene.effects.clear()
        scene.falls_silent("I want to book a table.")
        due_ms = next(effect.at_ms for effect in scene.all(do.SetTimer) if effect.timer is signals.Timer.PATIENCE)
        answered(scene, "For how many? And when?").wait(VOICE_DELAY_MS)
        assert scene.all(do.Speak) == []
        scene.wait(due_ms - scene.at_ms)
        assert scene.spoken[0] == "For how many?"
        assert scene.all(do.Play)[0].from_sample == due_ms * 8

    def test_does_not_wait_for_longer_than_the_version_allows(self) -> None:
        scene = asking(replace(Thresholds(), answer_within_ms=900))
        scene.wait(900 - 400 - 1)
        assert scene.fact(CallerTurn) == []
        scene.wait(1)
        assert len(scene.fact(CallerTurn)) == 1
        assert len(scene.all(do.AskModel)) == 1

    def test_is_over_when_the_answer_begins_with_a_tool_which_runs_only_then(self) -> None:
        scene = asking()
        draft = scene.state.draft
        assert draft is not None
        assert scene.all(do.RunTool) == []
        scene.tell(signals.ModelWantsTool, asked=draft.asked, use=BOOK)
        assert len(scene.fact(CallerTurn)) == 1
        assert [run.use for run in scene.wait(2).all(do.RunTool)] == [BOOK]

    def test_is_over_at_once_when_the_thought_fails(self) -> None:
        scene = asking()
        draft = scene.state.draft
        assert draft is not None
        scene.tell(signals.EngineBroke, engine=Engine.MODEL, name="bedrock", reason="throttled", asked=draft.asked)
        assert len(scene.fact(CallerTurn)) == 1
        assert len(scene.all(do.AskModel)) == 2

    def test_is_decided_on_the_words_when_no_more_may_be_thought_ahead(self) -> None:
        assert len(asking(replace(Thresholds(), speculations=0)).fact(CallerTurn)) == 1


class TestWhatIsNotSpokenAhead:
    def test_is_what_a_guardrail_would_change(self) -> None:
        rule = Guardrail(name="hours", action="block", phrases=("nine",), instead="Ask me later.")
        scene = answered(asking(guardrails=(rule,)), ANSWER)
        assert scene.all(do.SpeakAhead) == []
        assert scene.spoken[0] == "Ask me later."

    def test_is_anything_when_flushes_are_few(self) -> None:
        scene = asking()
        scene.state = replace(scene.state, speech=replace(scene.state.speech, flushes=FLUSHES_TO_SPARE - 1.0, flushes_at_ms=scene.at_ms))
        answered(scene, ANSWER)
        assert scene.all(do.SpeakAhead) == []
        assert scene.spoken == ["We open at nine.", "Until five."]

    def test_is_anything_where_the_version_says_so(self) -> None:
        assert answered(asking(replace(Thresholds(), speak_ahead=False)), ANSWER).all(do.SpeakAhead) == []


class TestWordsThatStayTheSame:
    def interim(self, scene: Scene, words: str) -> Scene:
        return scene.recognised(words, started_ms=scene.at_ms - 500, ended_ms=scene.at_ms, is_final=False, from_finalize=False)

    def test_are_thought_about_while_the_detector_still_hears_something(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds())).agreed().starts_speaking().wait(800)
        self.interim(scene, WORDS).wait(Thresholds().stable_after_ms - 1)
        assert scene.state.draft is None
        assert scene.wait(1).state.draft is not None

    def test_are_thought_about_at_once_when_the_line_is_quiet_behind_them(self) -> None:
        for quiet_ms, thinks in ((0, False), (40, True)):
            scene = Scene(briefing(thresholds=Thresholds())).agreed().starts_speaking().wait(800)
            scene.tell(
                signals.WordsRecognised, text=WORDS, is_final=False, from_finalize=False, start_ms=0, end_ms=scene.at_ms, confidence=0.9,
                quiet_ms=quiet_ms,
            )  # fmt: skip
            assert (scene.state.draft is not None) is thinks

    def test_are_not_when_others_follow(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds())).agreed().starts_speaking().wait(800)
        self.interim(scene, "when are you open").wait(300)
        self.interim(scene, "when are you open on").wait(300)
        assert scene.state.draft is None

    def test_are_thought_about_before_the_final_when_the_last_one_comes_after_the_voice(self) -> None:
        scene = Scene(briefing(thresholds=Thresholds())).agreed().starts_speaking().wait(800)
        self.interim(scene, "when are you").wait(100)
        scene.tell(signals.SpeechStopped, ended_ms=scene.at_ms - 100)
        assert scene.state.draft is None
        self.interim(scene, WORDS)
        assert scene.state.draft is not None


class Hand:
    """A voice that says what a test tells it to, when it does."""

    name, embedded = "voice", True

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.listener: VoiceListener = lambda _: None

    async def connect(self, *, voice: str, listener: VoiceListener) -> "Hand":
        self.listener = listener
        return self

    def speak(self, utterance: int, text: str, *, flush: bool) -> None:
        self.orders.append(f"{utterance} {text}")

    def clear(self) -> None:
        self.orders.append("clear")

    async def close(self) -> None:
        return


async def mouth() -> tuple[Mouth, Hand, list[tuple[str, bytes]]]:
    voice, given = Hand(), list[tuple[str, bytes]]()
    it = Mouth(voice, lambda signal, audio: given.append((type(signal).__name__, audio)), lambda: 7, first="v")
    await it.connect()
    return it, voice, given


class TestAMouthThatKeepsSoundBack:
    async def test_gives_it_at_once_when_it_is_said_and_the_rest_as_it_comes(self) -> None:
        it, voice, given = await mouth()
        it.speak_ahead(1, "Hello.")
        voice.listener(VoiceAudio(mulaw=b"he"))
        voice.listener(VoiceAudio(mulaw=b"l"))
        assert given == [("VoiceReady", b"")]
        it.speak(5, "Hello.")
        it.speak(6, "Bye.")
        voice.listener(VoiceAudio(mulaw=b"lo"))
        voice.listener(VoiceFlushed(utterance=0))
        assert given[1:] == [("VoiceArrived", b"hel"), ("VoiceArrived", b"lo"), ("VoiceDelivered", b"")]
        voice.listener(VoiceAudio(mulaw=b"bye"))
        voice.listener(VoiceFlushed(utterance=6))
        assert given[4:] == [("VoiceArrived", b"bye"), ("VoiceDelivered", b"")]
        assert voice.orders == ["0 Hello.", "6 Bye."]

    async def test_gives_all_of_it_where_all_had_come(self) -> None:
        it, voice, given = await mouth()
        it.speak_ahead(1, "Hello.")
        voice.listener(VoiceAudio(mulaw=b"hello"))
        voice.listener(VoiceFlushed(utterance=0))
        it.speak(5, "Hello.")
        assert given == [("VoiceReady", b""), ("VoiceArrived", b"hello"), ("VoiceDelivered", b"")]

    async def test_lets_nothing_of_it_out_when_something_else_is_said(self) -> None:
        it, voice, given = await mouth()
        it.speak_ahead(1, "Hello.")
        voice.listener(VoiceAudio(mulaw=b"he"))
        it.speak(5, "No.")
        assert voice.orders == ["0 Hello.", "clear", "5 No."]
        assert given == [("VoiceReady", b"")]

    async def test_lets_nothing_of_it_out_when_it_is_forgotten(self) -> None:
        it, voice, given = await mouth()
        it.speak_ahead(1, "Hello.")
        voice.listener(VoiceAudio(mulaw=b"hello"))
        voice.listener(VoiceFlushed(utterance=0))
        it.forget_ahead()
        it.speak(5, "Hello.")
        assert voice.orders == ["0 Hello.", "5 Hello."]
        assert given == [("VoiceReady", b"")]

    async def test_keeps_nobody_waiting_when_its_voice_is_lost_or_busy(self) -> None:
        it, voice, given = await mouth()
        it.speak_ahead(1, "Hello.")
        voice.listener(EngineFailed(engine="voice", reason="broke"))
        assert given[0] == ("VoiceReady", b"")
        it.speak_ahead(2, "Hello.")
        assert given[-1] == ("VoiceReady", b"")
        await it.close()
