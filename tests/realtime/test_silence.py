"""Whatever engine breaks, hangs or is slow: the caller hears something within five seconds, and every call ends once."""

import random
from dataclasses import dataclass, field
from functools import partial

import pytest

from events.calls.ending import EndedBy, EngineFailure, EngineSwitched
from events.calls.talking import AgentTurn
from realtime.consent.permission import Standing
from realtime.machine import effects as do
from realtime.machine import signals, silence
from realtime.machine.briefing import Thresholds
from realtime.machine.signals import Engine
from realtime.machine.state import Life
from realtime.ports import Tool, ToolUse
from tests.realtime.scene import SAMPLES_PER_CHARACTER, USAGE, WORDING, Scene, briefing, opened, tool

LONGEST_MS = 5000
HANGS = 10**9


@dataclass(slots=True)
class FickleScene(Scene):
    """A scene whose engines do as the dice say: answer, dawdle, stop in the middle, break, or hang for ever."""

    dice: random.Random = field(default_factory=lambda: random.Random(0))
    trouble: float = 0.5
    sounded_ms: int = 0
    questions: int = 0
    uses: int = 0

    def _delay(self, usual_ms: int) -> int:
        if self.dice.random() > self.trouble:
            return usual_ms
        return self.dice.choice([usual_ms * 4, self.dice.randint(500, 9000), HANGS])

    def _follow(self, effect: do.Effect) -> None:
        match effect:
            case do.Speak(utterance=utterance, text=text):
                self._voice(self._voice_epoch, utterance, text)
            case do.ChangeVoice(reason=reason):
                self._voice_epoch += 1
                self._later(self.at_ms + self._delay(150), partial(self._other_voice, self._voice_epoch, reason))
            case do.AskModel(asked=asked):
                self._think(asked)
            case do.RunTool(use=use):
                done = self.at_ms + self._delay(400)
                self._later(done, lambda: self._returned(use))
            case do.CloseMedia(words=words) if words:
                self.sounded_ms = self.at_ms
            case _:
                # As in the scene itself, with a playout that is listened to.
                Scene._follow(self, effect)  # noqa: SLF001
                if isinstance(effect, do.Play | do.Replay | do.PausePlayout | do.ClearPlayout):
                    self.sounded_ms = self._playout_end // 8

    def _voice(self, epoch: int, utterance: int, text: str) -> None:
        at_ms = self.at_ms + self._delay(60)
        if self.dice.random() < self.trouble / 4:
            cut = len(text) * self.dice.randint(1, 9) // 10
            self._later(at_ms, lambda: self._half(epoch, cut))
        else:
            self._later(at_ms, lambda: self._deliver(epoch, utterance, text))

    def _half(self, epoch: int, characters: int) -> None:
        if epoch == self._voice_epoch:
            if characters:
                self.tell(signals.VoiceArrived, samples=characters * SAMPLES_PER_CHARACTER)
            self._voice_epoch += 1
            self._later(self.at_ms + self._delay(150), partial(self._other_voice, self._voice_epoch, "1011"))

    def _other_voice(self, epoch: int, reason: str) -> None:
        if epoch != self._voice_epoch:
            return
        if self.dice.random() < self.trouble / 4:
            self.tell(signals.EngineBroke, engine=Engine.VOICE, name="voice", reason=reason)
        else:
            self.tell(signals.EngineTaken, engine=Engine.VOICE, name="other", instead_of="voice", reason=reason)

    def _think(self, asked: int) -> None:
        self.questions += 1
        at_ms = self.at_ms + self._delay(300)
        words = self.dice.choice(["We close at four on Fridays.", "Yes.", "Let me see. It is the third of May, at nine in the morning."])
        for word in words.split():
            self._later(at_ms, partial(self.tell, signals.ModelSaid, asked=asked, text=f"{word} "))
            at_ms += self._delay(12) if self.dice.random() < 0.1 else 12
        if self.dice.random() < self.trouble / 3:
            self._later(at_ms, lambda: self.tell(signals.EngineBroke, engine=Engine.MODEL, name="mind", reason="throttled", asked=asked))
            return
        if self.dice.random() < 0.2:
            self.uses += 1
            use = ToolUse(tool_use_id=f"t{self.uses}", name=self.dice.choice(["find_slot", "book_slot"]), arguments={})
            self._later(at_ms, lambda: self.tell(signals.ModelWantsTool, asked=asked, use=use))
        self._later(at_ms + 1, lambda: self.tell(signals.ModelDone, asked=asked, reason="end_turn", usage=USAGE))

    def _returned(self, use: ToolUse) -> None:
        self.tell(signals.ToolReturned, tool_use_id=use.tool_use_id, content="friday", failed=False)

    # --- the caller ---

    @property
    def waits(self) -> bool:
        """The caller has spoken, or rang, and was not answered yet: as the machine's state has it, without its own watch."""
        state = self.state
        if state.life is not Life.TALKING or state.floor.speaking:
            return False
        if state.reply is None:
            return state.floor.open or state.permission.standing is Standing.GRANTING
        return not state.speech.all_delivered or state.reply.asked != 0 or bool(state.tools)

    def listen(self, duration_ms: int) -> None:
        """Time passes, and the silences are measured."""
        until = self.at_ms + duration_ms
        while self.at_ms < until and not self.over:
            self.wait(100)
            if not self.waits:
                # Nobody has to say anything: the caller thinks, or has been answered.
                self.idle_ms = self.at_ms
            self.longest_ms = max(self.longest_ms, self.at_ms - max(self.sounded_ms, self.caller_ended_ms, self.idle_ms))

    caller_ended_ms: int = 0
    idle_ms: int = 0
    longest_ms: int = 0

    def talk(self, words: str) -> None:
        """The caller speaks; the recogniser gives its final, sometimes late, sometimes never."""
        self.starts_speaking()
        self.wait(800)
        ended = self.caller_ended_ms = self.at_ms
        self.wait(250)
        self.tell(signals.SpeechStopped, ended_ms=ended)
        self._later(self.at_ms + self._delay(100), lambda: self._final(words, ended))

    def coughs(self) -> None:
        """A sound, over the agent or into the quiet, that no word comes of."""
        self.starts_speaking()
        self.wait(self.dice.choice([60, 250, 600]))
        ended = self.caller_ended_ms = self.at_ms
        self.wait(250)
        self.tell(signals.SpeechStopped, ended_ms=ended)
        self._later(self.at_ms + self._delay(100), lambda: self._final("", ended))

    def _final(self, words: str, ended: int) -> None:
        self.recognised(words, started_ms=max(0, ended - 800), ended_ms=ended)


def fickle_call(seed: int, *, trouble: float = 0.5, thresholds: Thresholds | None = None) -> FickleScene:
    """A minute and a half with a caller who speaks whenever nothing more is to come, or is impatient."""
    dice = random.Random(seed)
    scene = FickleScene(briefing(thresholds=thresholds or Thresholds(silence_ms=8000)), dice=dice, trouble=trouble)
    scene.log_answers = dice.random() > trouble / 3
    scene.begin()
    while scene.at_ms < 90_000 and not scene.over:
        scene.listen(dice.randint(1500, 9000))
        if not scene.over:
            words = dice.choice(["", "", "yes please", "when are you open please", "book it please", "and then", "goodbye"])
            scene.talk(words) if words else scene.coughs()
    scene.listen(3000)
    if not scene.over:
        scene.hangs_up()
        scene.wait(20_000)
    return scene


class TestSilence:
    @pytest.mark.parametrize("first", range(0, 200, 50))
    def test_is_never_longer_than_five_seconds_while_the_caller_waits(self, first: int) -> None:
        for seed in range(first, first + 50):
            scene = fickle_call(seed)
            assert scene.longest_ms <= LONGEST_MS, f"seed {seed}: silent for {scene.longest_ms} ms"
            assert len(scene.all(do.Finish)) == 1, f"seed {seed}"

    def test_is_longer_where_nobody_looks_after_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(silence, "look", lambda _moment, _signal: None)
        assert any(fickle_call(seed).longest_ms > LONGEST_MS for seed in range(10))

    def test_is_broken_by_no_apology_where_all_goes_well(self) -> None:
        for seed in range(20):
            scene = fickle_call(seed, trouble=0.0)
            assert not {WORDING.please_wait, WORDING.still_working} & set(scene.spoken)
            assert scene.fact(EngineFailure) == []
            assert scene.fact(EngineSwitched) == []

    def test_of_a_slow_tool_is_apologised_for_in_turns(self) -> None:
        scene = Scene(briefing(tools=(slow_tool(),))).agreed().says("book it please").wait(1)
        scene.model_answers("", ToolUse(tool_use_id="b1", name="book_slot", arguments={})).wait(20_000)
        apologies = [text for text in scene.spoken if text in (WORDING.please_wait, WORDING.still_working)]
        assert apologies[:3] == [WORDING.please_wait, WORDING.still_working, WORDING.please_wait]

    def test_of_a_recogniser_that_never_says_its_last_word_ends_with_what_is_known(self) -> None:
        patient = Thresholds(final_within_ms=5000, patience_ms=5000)
        scene = Scene(briefing(thresholds=patient)).agreed().starts_speaking().wait(900)
        scene.recognised("and when do you", started_ms=scene.at_ms - 900, ended_ms=scene.at_ms, is_final=False)
        ended = scene.at_ms
        scene.wait(300)
        scene.tell(signals.SpeechStopped, ended_ms=ended)
        scene.wait(ended + 4000 - scene.at_ms)
        assert scene.request.messages[-1].text.endswith("and when do you")


def slow_tool() -> Tool:
    return tool("book_slot", idempotent=False, timeout_ms=30_000)


class TestAVoiceThatDiesInMidSentence:
    SENTENCE = "We are open from nine to five on every day of the week but Sunday."

    def dies_after(self, characters: int) -> Scene:
        scene = Scene().agreed().says("when are you open please").wait(1)
        scene.voice_speaks = False
        scene.model_answers(self.SENTENCE)
        if characters:
            scene.tell(signals.VoiceArrived, samples=characters * SAMPLES_PER_CHARACTER)
        scene.tell(signals.EngineTaken, engine=Engine.VOICE, name="other", instead_of="voice", reason="1011")
        return scene

    @pytest.mark.parametrize("characters", range(0, len(SENTENCE), 3))
    def test_is_gone_on_from_the_word_that_was_cut_and_no_word_is_skipped(self, characters: int) -> None:
        scene = self.dies_after(characters)
        again = scene.spoken[-1]
        assert self.SENTENCE.endswith(again)
        given = len(self.SENTENCE) - len(again)
        assert given <= characters, "what was not given is said"
        assert self.SENTENCE[given - 1 : given].strip() == "", "it begins with a word"
        assert characters - given <= 0.15 * characters + max(map(len, self.SENTENCE.split())), "little is said twice"

    def test_is_one_turn_with_all_its_words_heard(self) -> None:
        scene = self.dies_after(30)
        scene.tell(signals.VoiceArrived, samples=40 * SAMPLES_PER_CHARACTER)
        scene.tell(signals.VoiceDelivered, utterance=scene.all(do.Speak)[-1].utterance)
        scene.hears_all()
        assert opened(scene.fact(AgentTurn)[-1].heard) == self.SENTENCE
        (switched,) = scene.fact(EngineSwitched)
        assert (switched.kind, switched.engine, switched.instead_of, switched.reason) == ("voice", "other", "voice", "1011")
        assert switched.repeated_characters == len(scene.spoken[-1])

    def test_is_not_gone_on_with_when_the_caller_has_spoken_over_it(self) -> None:
        scene = self.dies_after(30)
        said = len(scene.spoken)
        scene.starts_speaking().wait(1000)
        scene.tell(signals.EngineTaken, engine=Engine.VOICE, name="third", instead_of="other", reason="1011")
        assert len(scene.spoken) == said

    def test_is_replaced_twice_and_then_the_carriers_speaks(self) -> None:
        scene = Scene(voice_speaks=False).begin().wait(LONGEST_MS)
        assert len(scene.all(do.ChangeVoice)) >= 2
        assert scene.all(do.CloseMedia) == [do.CloseMedia(words=WORDING.cannot_go_on, language="en-US")]
        assert (scene.end.reason, scene.end.ended_by) == ("voice-failed", EndedBy.PLATFORM)
