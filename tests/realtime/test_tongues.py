"""The languages and voices of an agent in one call: who changes them, what changes with them, and that it holds with another worker."""

from dataclasses import replace
from typing import Any

import pytest

from commands.consents import GrantConsent, RevokeConsent
from events.calls.languages import ChosenBy, LanguageChanged, VoiceChanged
from events.calls.talking import AgentTurn
from realtime.consent.permission import Standing
from realtime.machine import briefing as briefings
from realtime.machine import signals
from realtime.machine.briefing import Briefing, Thresholds, Tongue
from realtime.machine.effects import CloseMedia, HearLanguage, RunTool, Speak, StartRecorder, StopRecorder, UseVoice
from realtime.machine.resuming import fold
from realtime.ports import SEVERAL, ToolUse
from realtime.rerun import words as spelled
from realtime.speaking import estimating, tongues
from realtime.speaking.tongues import SPEAK_AS, SPEAK_LANGUAGE
from realtime.turns.back_channels import is_back_channel
from tests.realtime.scene import USAGE, WORDING, Scene, briefing, opened

SPANISH = replace(
    WORDING, still_there="¿Sigue ahí?", how_can_i_help="¿En qué puedo ayudarle?", permission_question="¿Puedo grabar esta llamada?",
    permission_again="Perdón, ¿puedo grabarla?",
    yes="sí, claro, por supuesto", no="no, mejor no", stop_recording="deje de grabar, no grabe",
    back_listening="Perdón, se cortó. Siga, por favor.", time_almost_up="Se nos acaba el tiempo.",
)  # fmt: skip
BOTH = {
    "en-US": Tongue(language="en-US", voice="aura-2-thalia-en", wording=WORDING),
    "es": Tongue(language="es", voice="aura-2-celeste-es", wording=SPANISH, pronunciation={"cita": "sita"}),
}
QUESTION, OF_SPANISH = "quisiera una cita para el martes", (("es", 6),)


def speaking(*, hears_all: bool = True, **more: Any) -> Briefing:
    return briefing(tongues=BOTH, voices={"calm": "aura-2-athena-en"}, hears_all=hears_all, **more)


def scene(**more: Any) -> Scene:
    return Scene(briefing=speaking(**more)).agreed()


def use(name: str, **arguments: str) -> ToolUse:
    return ToolUse(tool_use_id="t1", name=name, arguments=arguments)


class TestTheModel:
    def test_goes_on_in_the_language_that_it_asks_for(self) -> None:
        call = scene(hears_all=False)
        call.says("can we speak spanish please").model_answers("", use(SPEAK_LANGUAGE, language="es")).model_answers(
            "La cita es el martes."
        )
        (fact,) = call.fact(LanguageChanged)
        assert (fact.language, fact.instead_of, fact.voice, fact.by) == ("es", "en-US", "aura-2-celeste-es", ChosenBy.AGENT)
        order = [type(effect) for effect in call.effects if isinstance(effect, UseVoice | HearLanguage | Speak)]
        assert order[-3:] == [UseVoice, HearLanguage, Speak]
        assert call.spoken[-1] == "La sita es el martes.", "said as this language has it"
        assert call.request.messages[-1].tool_outcomes[0].failed is False
        call.hears_all().wait(20_100)
        assert call.spoken[-1] == "¿Sigue ahí?"

    def test_comes_back(self) -> None:
        call = scene()
        call.says("spanish please").model_answers("", use(SPEAK_LANGUAGE, language="es")).model_answers("Si.").hears_all()
        call.says("english please").model_answers("", use(SPEAK_LANGUAGE, language="en-US")).model_answers("Fine.")
        assert [fact.language for fact in call.fact(LanguageChanged)] == ["es", "en-US"]
        assert call.state.briefing == call.briefing
        assert [effect.voice for effect in call.all(UseVoice)] == ["aura-2-celeste-es", "aura-2-thalia-en"]
        assert call.all(HearLanguage) == [], "a recogniser that tells them apart hears both all the time"

    @pytest.mark.parametrize("language", ["de", "en-US", ""])
    def test_is_told_so_where_there_is_no_such_language_or_it_is_spoken(self, language: str) -> None:
        call = scene()
        call.says("german please").model_answers("", use(SPEAK_LANGUAGE, language=language))
        assert call.request.messages[-1].tool_outcomes[0].failed
        assert call.fact(LanguageChanged) == []

    def test_changes_nothing_by_arguments_that_do_not_fit_the_schema(self) -> None:
        call = scene()
        call.says("spanish please")
        call.tell(signals.ModelWantsTool, asked=call.asked, use=use(SPEAK_LANGUAGE, language="es"), faults="language: no")
        assert call.fact(LanguageChanged) == []
        call.tell(signals.ModelDone, asked=call.asked, reason="tool_use", usage=USAGE)
        assert "do not fit" in call.request.messages[-1].tool_outcomes[0].content

    def test_changes_nothing_by_an_answer_that_was_thought_ahead_and_dropped(self) -> None:
        call = scene()
        call.starts_speaking().wait(600)
        call.recognised("could we speak spanish, please.", started_ms=call.at_ms - 500, ended_ms=call.at_ms, is_final=False)
        call.tell(signals.SpeechStopped, ended_ms=call.at_ms - 100)
        ahead = call.asked
        call.tell(signals.ModelWantsTool, asked=ahead, use=use(SPEAK_LANGUAGE, language="es"))
        call.tell(signals.ModelDone, asked=ahead, reason="tool_use", usage=USAGE)
        assert call.state.draft is not None
        assert call.state.briefing.language == "en-US"
        call.tell(signals.SpeechStarted, since_ms=call.at_ms)
        call.wait(300)
        call.falls_silent("no, english is fine")
        call.wait(1500)
        assert call.asked != ahead
        assert call.fact(LanguageChanged) == []

    def test_may_choose_another_voice_of_the_same_language(self) -> None:
        call = scene()
        call.says("calm down").model_answers("", use(SPEAK_AS, voice="calm")).model_answers("Yes.").hears_all()
        call.says("as before").model_answers("", use(SPEAK_AS, voice="usual")).model_answers("Yes.")
        assert [(fact.name, fact.voice, fact.language) for fact in call.fact(VoiceChanged)] == [
            ("calm", "aura-2-athena-en", "en-US"), ("", "aura-2-thalia-en", "en-US"),
        ]  # fmt: skip
        assert [effect.voice for effect in call.all(UseVoice)] == ["aura-2-athena-en", "aura-2-thalia-en"]
        assert call.all(RunTool) == []

    def test_is_offered_nothing_where_there_is_one_language_and_one_voice(self) -> None:
        call = Scene().agreed().says("spanish please")
        names = {spec.name for spec in call.request.tools}
        assert not names & {SPEAK_LANGUAGE, SPEAK_AS}
        call.model_answers("", use(SPEAK_LANGUAGE, language="es"))
        assert call.request.messages[-1].tool_outcomes[0].failed
        assert call.fact(LanguageChanged) == []


class TestTheCallersWords:
    def test_lead_to_their_language_where_enough_of_them_are_of_it(self) -> None:
        call = scene()
        call.says(QUESTION, languages=OF_SPANISH)
        (fact,) = call.fact(LanguageChanged)
        assert (fact.language, fact.by, fact.told_words, fact.of_words, fact.turn) == (
            "es",
            ChosenBy.RECOGNISER,
            6,
            6,
            call.state.talk.turn,
        )
        assert "es now" in call.request.messages[-1].text, "the model is told"
        assert QUESTION in call.request.messages[-1].text

    def test_end_what_was_thought_and_spoken_ahead_in_the_language_before(self) -> None:
        call = scene()
        call.starts_speaking().wait(900)
        call.recognised(
            "quisiera una cita para el martes, when are you open?", started_ms=call.at_ms - 900, ended_ms=call.at_ms, is_final=False
        )
        call.tell(signals.SpeechStopped, ended_ms=call.at_ms - 100)
        ahead = call.asked
        assert call.state.draft is not None
        call.tell(signals.ModelSaid, asked=ahead, text="We are open on Tuesday. And ")
        call.recognised("quisiera una cita para el martes, when are you open?", started_ms=call.at_ms - 900, ended_ms=call.at_ms - 100,
                        languages=(("en", 4), ("es", 6)))  # fmt: skip
        call.wait(3000)
        (fact,) = call.fact(LanguageChanged)
        assert call.asked != ahead, "it is asked again, and told of the language"
        spoken = [effect for effect in call.effects if isinstance(effect, UseVoice | Speak)]
        after = spoken[spoken.index(UseVoice(voice=fact.voice)) + 1 :]
        assert not [effect for effect in after if isinstance(effect, Speak) and "Tuesday" in effect.text]
        call.model_answers("El martes.")
        assert call.spoken[-1] == "El martes."
        assert not any("Tuesday" in opened(turn.heard) for turn in call.fact(AgentTurn))

    @pytest.mark.parametrize(
        ("languages", "why"),
        [
            ((("es", 2),), "a word of thanks is no wish for another language"),
            ((("en", 3), ("es", 4)), "too small a share"),
            ((("de", 6),), "not one of the agent's"),
            ((), "the recogniser does not say"),
            ((("en", 6),), "it is spoken already"),
        ],
    )
    def test_change_nothing_otherwise(self, languages: tuple[tuple[str, int], ...], why: str) -> None:
        call = scene()
        call.says("gracias por todo", languages=languages)
        assert call.fact(LanguageChanged) == [], why

    def test_add_up_over_short_turns_in_a_row(self) -> None:
        call = scene()
        call.says("si claro", languages=(("es", 2),)).model_answers("Yes?").hears_all()
        assert call.fact(LanguageChanged) == []
        call.says("por favor", languages=(("es", 2),))
        assert [(fact.told_words, fact.of_words) for fact in call.fact(LanguageChanged)] == [(4, 4)]

    def test_do_not_add_up_over_a_turn_in_the_language_that_is_spoken(self) -> None:
        call = scene()
        for words, languages in (("si claro", (("es", 2),)), ("yes I mean", (("en", 3),)), ("por favor", (("es", 2),))):
            call.says(words, languages=languages).model_answers("Yes?").hears_all()
        assert call.fact(LanguageChanged) == []

    def test_are_counted_by_thresholds_of_the_agents_version(self) -> None:
        patient = replace(speaking().thresholds, language_words=7)
        call = scene(thresholds=patient)
        call.says(QUESTION, languages=OF_SPANISH)
        assert call.fact(LanguageChanged) == []

    def test_are_answered_in_it_when_they_answer_our_own_question(self) -> None:
        call = Scene(briefing=speaking()).greeted()
        call.says("si puede grabar la llamada", languages=(("es", 5),)).model_answers("Bien.")
        assert call.spoken[-1] == SPANISH.permission_again
        assert call.state.briefing.language == "es"


class TestTheEndOfATurn:
    def waited_ms(self, words: str, *, spanish: bool) -> int:
        """From the end of these words to the question to the model."""
        call = scene(thresholds=Thresholds(answer_within_ms=0, speculation=False))
        if spanish:
            call.says(QUESTION, languages=OF_SPANISH).model_answers("Sí.").hears_all()
        before = call.state.next_question
        call.starts_speaking().wait(900).falls_silent(words)
        since_ms = call.at_ms
        while call.state.next_question == before:
            assert call.at_ms < since_ms + 5000
            call.wait(20)
        return call.at_ms - since_ms

    @pytest.mark.parametrize("words", ["a qué hora abren mañana", "sí por favor"])
    def test_comes_at_once_behind_words_that_are_complete_in_the_language_that_is_spoken(self, words: str) -> None:
        assert self.waited_ms(words, spanish=True) == 0
        assert self.waited_ms(words, spanish=False) > 300

    def test_comes_late_behind_words_that_are_not(self) -> None:
        assert self.waited_ms("quisiera cambiar mi", spanish=True) > self.waited_ms("quisiera cambiar mi", spanish=False) + 300


def test_the_carriers_voice_speaks_the_language_of_the_words_that_it_says_for_us() -> None:
    call = scene().says(QUESTION, languages=OF_SPANISH)
    call.tell(signals.EngineBroke, engine=signals.Engine.VOICE, name="voice", reason="gone")
    assert call.all(CloseMedia) == [CloseMedia(words=SPANISH.cannot_go_on, language="es")]


class TestConsent:
    def asked_in_spanish(self) -> Scene:
        """The caller was asked in English, answered in Spanish what was no answer, and is asked again."""
        call = Scene(briefing=speaking()).greeted()
        return call.says("hola quisiera una cita para el martes", languages=(("es", 7),)).model_answers("Bien.").hears_all()

    def test_is_given_in_the_agents_phrases_of_the_language_that_is_spoken(self) -> None:
        call = self.asked_in_spanish()
        call.says("Sí, claro.").wait(10)
        assert len(call.fact(GrantConsent)) == 1

    @pytest.mark.parametrize("words", ["no gracias", "sí, o mejor no", "sí pero espere un momento", "gracias"])
    def test_is_not_given_by_anything_else(self, words: str) -> None:
        call = self.asked_in_spanish()
        call.says(words).wait(10)
        assert call.fact(GrantConsent) == []

    def test_is_not_given_in_a_language_that_is_not_spoken(self) -> None:
        call = Scene(briefing=speaking()).greeted().says("Sí, claro.").wait(10)
        assert call.fact(GrantConsent) == []

    def test_is_withdrawn_in_the_agents_phrases_as_well(self) -> None:
        call = self.asked_in_spanish().says("Sí, claro.").wait(10).hears_all()
        assert len(call.all(StartRecorder)) == 1
        call.says("por favor deje de grabar")
        assert len(call.all(StopRecorder)) == 1
        assert len(call.fact(RevokeConsent)) == 1

    def test_is_what_another_worker_reads_of_it(self) -> None:
        call = self.asked_in_spanish().log_goes_away()
        call.says("mejor no")
        past = fold(enumerate(call.facts, 1), WORDING, opened, [SPANISH])
        assert past.permission.standing is not Standing.RECORDABLE


class TestAnotherWorker:
    def test_goes_on_in_the_language_and_the_voice_that_were_spoken(self) -> None:
        call = scene(hears_all=False)
        call.says("spanish please").model_answers("", use(SPEAK_LANGUAGE, language="es")).model_answers("Si.").hears_all()
        past = fold(enumerate(call.facts, 1), WORDING, opened, [SPANISH])
        assert (past.language, past.voice_name) == ("es", "")
        other = Scene(briefing=speaking(hears_all=False))
        other.tell(signals.MediaResumed, stream_sid="MZ2", past=past)
        assert other.all(UseVoice) == [UseVoice(voice="aura-2-celeste-es")]
        assert other.all(HearLanguage) == [HearLanguage(language="es")]
        assert other.spoken[0] == SPANISH.back_listening
        assert other.fact(LanguageChanged) == [], "it was one already"

    def test_knows_that_our_question_was_asked_in_another_language(self) -> None:
        call = Scene(briefing=speaking()).greeted()
        call.says("si claro por favor hable espanol", languages=(("es", 6),)).model_answers("Bien.").hears_all()
        assert fold(enumerate(call.facts, 1), WORDING, opened, [SPANISH]).permission.times_asked == 2

    def test_goes_on_with_the_voice_that_was_asked_for(self) -> None:
        call = scene()
        call.says("calm down").model_answers("", use(SPEAK_AS, voice="calm")).model_answers("Yes.").hears_all()
        other = Scene(briefing=speaking())
        other.tell(signals.MediaResumed, stream_sid="MZ2", past=fold(enumerate(call.facts, 1), WORDING, opened))
        assert other.all(UseVoice) == [UseVoice(voice="aura-2-athena-en")]


def test_a_new_voice_has_yet_to_show_how_fast_it_speaks() -> None:
    call = scene()
    call.says("hello").model_answers("A sentence of some length, which shows how fast this voice of ours speaks.").hears_all()
    assert call.state.speech.pace != estimating.SAMPLES_PER_UNIT
    call.says(QUESTION, languages=OF_SPANISH)
    assert call.state.speech.pace == estimating.SAMPLES_PER_UNIT


def test_a_call_in_two_languages_is_run_again_from_what_was_kept_of_it() -> None:
    taken: list[signals.Signal] = []
    call = Scene(briefing=speaking())
    call.watchers.append(lambda signal, _: taken.append(signal))
    call.agreed().says(QUESTION, languages=OF_SPANISH).model_answers("Si.").hears_all()
    rows, _ = spelled.signal_rows(taken, 0)
    again, listener = Scene(briefing=speaking(), voice_speaks=False), spelled.listener(spelled.OURS)
    kept = listener.briefing(spelled.briefing_row(again.briefing), again.briefing.seal)
    assert kept == again.briefing
    for signal in listener.signals([list(row) for row in rows], 0):
        again.give(signal)
    assert again.effects == call.effects


CONFIGURATION: dict[str, Any] = {
    "voice": {"model": "aura-2-thalia-en", "by_language": {"es": "aura-2-celeste-es"}, "others": {"calm": "aura-2-athena-en"}},
    "language": {
        "primary": "en-US", "supported": ["en-US", "es", "fr"], "auto_detect": True,
        "wording": {"es": {"still_there": "¿Sigue ahí?"}}, "pronunciation": {"es": {"cita": "sita"}},
    },
}  # fmt: skip


class TestAConfiguration:
    def test_names_the_languages_that_have_a_voice(self) -> None:
        found = tongues.tongues(CONFIGURATION, WORDING, {"SQL": "sequel"})
        assert list(found) == ["en-US", "es"]
        assert found["en-US"] == Tongue(language="en-US", voice="aura-2-thalia-en", wording=WORDING, pronunciation={"SQL": "sequel"})
        assert (found["es"].wording.still_there, found["es"].wording.greeting) == ("¿Sigue ahí?", WORDING.greeting)
        assert found["es"].pronunciation == {"cita": "sita"}

    def test_has_them_told_apart_where_it_says_so(self) -> None:
        spoken = tongues.tongues(CONFIGURATION, WORDING, {})
        assert tongues.heard_language(CONFIGURATION, spoken) == SEVERAL.join(["en-US", "es"])
        one = {**CONFIGURATION, "language": {**CONFIGURATION["language"], "auto_detect": False}}
        assert tongues.heard_language(one, spoken) == "en-US"
        assert tongues.heard_language({"language": {"primary": "fr", "auto_detect": True}}, tongues.tongues({}, WORDING, {})) == "en-US"

    def test_knows_a_listeners_words_of_the_languages(self) -> None:
        found = tongues.tongues(CONFIGURATION, WORDING, {})
        assert is_back_channel("ajá, ya veo", found["es"].wording.back_channels)
        assert not is_back_channel("ajá, ya veo", found["en-US"].wording.back_channels)
        first = briefings.wording({"language": {"primary": "es-MX"}}, "Smile", {})
        assert is_back_channel("claro", first.back_channels)
        own = {"language": {"primary": "es"}, "wording": {"back_channels": "dale"}}
        assert briefings.wording(own, "Smile", {}).back_channels == "dale"
