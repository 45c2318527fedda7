"""What the caller notices of an engine that broke or hangs: at most a word twice, never a word less."""

from dataclasses import replace

from events.calls.ending import EngineSwitched
from realtime.machine import closing
from realtime.machine.effects import ChangeVoice, SetTimer, Speak
from realtime.machine.signals import Engine, EngineBroke, EngineTaken, Timer, VoiceDelivered
from realtime.machine.state import Moment
from realtime.speaking import again, estimating, replying
from realtime.speaking.pronouncing import spoken

_NO_VOICE = "no audio in time"
# Voices in a row that gave nothing; then the carrier's own speaks for us.
_MOST_VOICES = 3


def engine_taken(moment: Moment, signal: EngineTaken) -> None:
    """Another engine does the work. What the lost voice had not given is said again by it."""
    if signal.engine is Engine.VOICE:
        if signal.name != signal.instead_of:
            # How fast the other one speaks, it has yet to show.
            moment.change(speech=replace(moment.state.speech, pace=estimating.SAMPLES_PER_UNIT))
        moment.change(voice_engine=signal.name)
    repeated = _say_again(moment) if signal.engine is Engine.VOICE else 0
    moment.note(
        EngineSwitched(
            turn=moment.state.talk.turn, kind=signal.engine.value, engine=signal.name, instead_of=signal.instead_of, reason=signal.reason,
            at_ms=signal.at_ms, repeated_ms=signal.repeated_ms, repeated_characters=repeated,
        ),
        essential=True,
    )  # fmt: skip


def _say_again(moment: Moment) -> int:
    speech = moment.state.speech
    per_character = again.samples_per_character(speech.utterances)
    characters = 0
    for utterance in [each for each in speech.utterances if not each.delivered]:
        if text := again.left_to_say(utterance, per_character):
            characters += len(text)
            moment.do(Speak(utterance=utterance.id, text=spoken(text, moment.state.briefing.pronunciation)))
        else:
            replying.voice_delivered(moment, VoiceDelivered(at_ms=moment.at_ms, utterance=utterance.id))
    if characters:
        replying.spend_characters(moment, characters)
        replying.expect_voice(moment)
    return characters


def voice_due(moment: Moment) -> None:
    """The voice owes audio: another one is taken, a few times; then there is none."""
    state = moment.state
    if state.speech.all_delivered:
        return
    due_ms = state.voice_since_ms + state.briefing.thresholds.voice_within_ms
    if due_ms > moment.at_ms:
        moment.do(SetTimer(timer=Timer.VOICE, at_ms=due_ms))
    elif state.voices_tried < _MOST_VOICES:
        moment.change(voices_tried=state.voices_tried + 1)
        moment.do(ChangeVoice(reason=_NO_VOICE))
        replying.expect_voice(moment)
    else:
        broke = EngineBroke(at_ms=moment.at_ms, engine=Engine.VOICE, name=state.briefing.voice, reason=_NO_VOICE)
        closing.engine_broke(moment, broke)
