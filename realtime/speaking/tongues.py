"""The languages and voices of an agent in a call: which one is spoken now, who may change it, and what changes with it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from events.calls.languages import ChosenBy, LanguageChanged, VoiceChanged
from realtime.machine import briefing as briefings
from realtime.machine.briefing import Briefing, Tongue, Wording
from realtime.machine.effects import HearLanguage, UseVoice
from realtime.machine.signals import WordsRecognised
from realtime.machine.state import CallState, Leaning, Moment
from realtime.ports import SEVERAL, Json, ToolSpec, ToolUse
from realtime.speaking import estimating
from realtime.thinking import conversation
from realtime.turns.endings import endings_of

SPEAK_LANGUAGE: Final = "speak_language"
SPEAK_AS: Final = "speak_as"
USUAL: Final = "usual"
_NOT_SPOKEN: Final = "There is no such language or voice, or it is spoken already."


def tongues(configuration: Mapping[str, Any], first: Wording, pronunciation: Mapping[str, str]) -> Mapping[str, Tongue]:
    """The languages of a version, the primary one first: each that is supported and has a voice. A sentence without its own words in one
    is said in the primary's; a listener's words are those of the language, where they are known.
    """
    language, voice = briefings.section(configuration, "language"), briefings.section(configuration, "voice")
    primary, models = str(language.get("primary") or "en-US"), briefings.section(voice, "by_language")
    wordings, said = briefings.section(language, "wording"), briefings.section(language, "pronunciation")
    supported = language.get("supported")
    found = {primary: Tongue(language=primary, voice=briefings.voice(configuration), wording=first, pronunciation=pronunciation)}
    for tag in supported if isinstance(supported, list) else ():
        if isinstance(tag, str) and tag != primary and models.get(tag):
            own = briefings.section(wordings, tag)
            listened = replace(first, back_channels=endings_of(tag).back_channels or first.back_channels)
            words = replace(listened, **{each.name: str(own[each.name]) for each in fields(Wording) if own.get(each.name)})
            found[tag] = Tongue(language=tag, voice=str(models[tag]), wording=words, pronunciation=briefings.section(said, tag))
    return found


def heard_language(configuration: Mapping[str, Any], spoken: Mapping[str, Tongue]) -> str:
    """What the recogniser is to expect: the primary language, or all of them where the version has them told apart."""
    told_apart = briefings.section(configuration, "language").get("auto_detect") is True and len(spoken) > 1
    return SEVERAL.join(spoken) if told_apart else next(iter(spoken))


def offered(briefing: Briefing) -> tuple[ToolSpec, ...]:
    """What this agent has more than one of. The words are the same in every language: a model's cache is kept."""
    specs = []
    if len(briefing.tongues) > 1:
        about = (
            f"From your next words on, speak another language. You start in {next(iter(briefing.tongues))}. Use it when the caller speaks "
            "or asks for one of these, and then answer in it; say nothing else with it."
        )
        specs.append(_spec(SPEAK_LANGUAGE, about, "language", list(briefing.tongues)))
    if briefing.voices:
        about = "From your next words on, speak with another of your voices in the same language."
        specs.append(_spec(SPEAK_AS, about, "voice", [USUAL, *briefing.voices]))
    return tuple(specs)


def _spec(name: str, description: str, of: str, choice: list[str]) -> ToolSpec:
    schema = {
        "type": "object", "properties": {of: {"type": "string", "enum": choice}}, "required": [of], "additionalProperties": False,
    }  # fmt: skip
    return ToolSpec(name=name, description=description, input_schema=schema)


def asked_for(state: CallState, use: ToolUse) -> bool:
    """Whether a tool is one of these, and offered."""
    return use.name in {spec.name for spec in offered(state.briefing)}


def request(moment: Moment, use: ToolUse) -> tuple[Json, bool]:
    """The model wants another language or voice; returns what it is told, and whether that failed."""
    briefing = moment.state.briefing
    if use.name == SPEAK_LANGUAGE:
        tongue = briefing.tongues.get(str(use.arguments.get("language", "")))
        if tongue is None or tongue.language == briefing.language:
            return _NOT_SPOKEN, True
        _change(moment, tongue, ChosenBy.AGENT)
        return {"language": tongue.language, "note": "From your next words on you speak it; answer in it."}, False
    name = str(use.arguments.get("voice", ""))
    chosen = "" if name == USUAL else name
    if (chosen and chosen not in briefing.voices) or chosen == moment.state.voice_name:
        return _NOT_SPOKEN, True
    voice = briefing.voices.get(chosen) or briefing.tongues[briefing.language].voice
    moment.change(voice_name=chosen)
    fact = VoiceChanged(turn=moment.state.talk.turn, name=chosen, voice=voice, language=briefing.language, at_ms=moment.at_ms)
    moment.note(fact, essential=True)
    _use(moment, voice)
    return {"voice": name, "note": "From your next words on you speak with it."}, False


def heard(moment: Moment, signal: WordsRecognised) -> None:
    """Count the words of the open turn by their language."""
    state = moment.state
    if len(state.briefing.tongues) < 2 or not signal.is_final or not signal.text.strip():
        return
    counted = Counter(dict(state.heard_languages))
    for told, words in signal.languages:
        counted[_tongue_of(state.briefing, told)] += words
    moment.change(heard_languages=tuple(sorted(counted.items())))


def _tongue_of(briefing: Briefing, told: str) -> str:
    """The agent's language that a recogniser's tag means, `en` for `en-US`; the one that is spoken, of several; empty: none of them."""
    tags = [briefing.language, *briefing.tongues]
    exact = next((tag for tag in tags if tag.lower() == told.lower()), None)
    return exact or next((tag for tag in tags if tag.partition("-")[0].lower() == told.partition("-")[0].lower()), "")


def turned(moment: Moment) -> None:
    """The caller's turn is over: go on in the language of their words, where enough of them were of another one."""
    state = moment.state
    if not state.heard_languages:
        return
    limits, of_words = state.briefing.thresholds, sum(words for _, words in state.heard_languages)
    language, words = max(state.heard_languages, key=lambda each: (each[1], each[0] == state.briefing.language, each[0]))
    moment.change(heard_languages=(), leaning=Leaning())
    if language in ("", state.briefing.language) or words < limits.language_share * of_words:
        return
    before = state.leaning if state.leaning.language == language else Leaning()
    leaning = Leaning(language=language, words=before.words + words, of_words=before.of_words + of_words)
    if leaning.words < limits.language_words:
        moment.change(leaning=leaning)
        return
    _change(moment, state.briefing.tongues[language], ChosenBy.RECOGNISER, leaning)
    note = f"(The caller speaks {language} now, and so do you: answer in it.)"
    moment.change(talk=conversation.noted(moment.state.talk, note))


def _change(moment: Moment, tongue: Tongue, by: ChosenBy, told: Leaning | None = None) -> None:
    before, counted = moment.state.briefing.language, told or Leaning()
    fact = LanguageChanged(
        turn=moment.state.talk.turn, language=tongue.language, instead_of=before, voice=tongue.voice, by=by, told_words=counted.words,
        of_words=counted.of_words, at_ms=moment.at_ms,
    )  # fmt: skip
    moment.note(fact, essential=True)
    moment.change(voice_name="", leaning=Leaning(), heard_languages=())
    _speak(moment, tongue)


def go_on(moment: Moment, language: str, voice_name: str) -> None:
    """Another worker has the call: it goes on in the language and the voice that it had."""
    briefing = moment.state.briefing
    if language != briefing.language and language in briefing.tongues:
        _speak(moment, briefing.tongues[language])
    if voice_name in briefing.voices:
        moment.change(voice_name=voice_name)
        _use(moment, briefing.voices[voice_name])


def _speak(moment: Moment, tongue: Tongue) -> None:
    briefing = replace(
        moment.state.briefing, language=tongue.language, wording=tongue.wording, pronunciation=tongue.pronunciation
    )  # fmt: skip
    moment.change(briefing=briefing)
    _use(moment, tongue.voice)
    if not briefing.hears_all:
        moment.do(HearLanguage(language=tongue.language))


def _use(moment: Moment, voice: str) -> None:
    # How fast this one speaks, it has yet to show.
    moment.change(speech=replace(moment.state.speech, pace=estimating.SAMPLES_PER_UNIT))
    moment.do(UseVoice(voice=voice))
