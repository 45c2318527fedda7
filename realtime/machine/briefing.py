"""All that a call knows before its first word: who speaks for whom, in which words, with which patience."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from events.sealing import Sealed
from realtime.ports import Tool
from realtime.speaking.pronouncing import alternatives
from realtime.thinking.guardrails import PLATFORM, Guardrail
from realtime.thinking.models import OWNERS_RULES, RuleList
from realtime.turns.endings import endings_of

SHORT_GREETING = "short-greeting"
"""The flag that makes the greeting short; its variant `off` leaves it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Data of the agent's version: its `parameters` by these names; what it does not say is as here.

    `interruption_threshold` is the detector's probability from which on a sound is speech. Speech over the agent pauses it after
    `barge_in_after_ms`; sustained for `interruption_after_ms` it needs no words to end the agent's turn, and
    `resume_after_ms` after its end the agent goes on if no words have come of it. A sound is the agent's echo that is like what it says
    by `echo_likeness` (1: none is) and softer by `echo_below_db`. `speculations`: at most so many a
    turn, on words that look complete and are final, or unchanged for `stable_after_ms`; `speak_ahead`: their first sentence is spoken as
    well, and kept back. A turn whose answer is in the making is over when that can be heard, `answer_within_ms` behind the caller's last
    sound at the latest. `drain_ms`: how long an answer that was cut is read on, so that its tokens are known exactly.
    Silence since the caller's last sound gives the floor away: after `complete_after_ms` behind words that look complete (`lone_word_ms`
    behind a lone yes or no), `patience_ms` behind others (then what this caller has taught, from `least_patience_ms` to
    `most_patience_ms`), `open_end_ms` behind an "and" or a "to". `turn_within_ms`: how long a recogniser that judges turns is left to.
    The agent goes on in the caller's language when it is that of `language_share` of a turn's words, once there were `language_words`.
    """

    interruption_threshold: float = 0.6
    speech_start_ms: int = 64
    speech_stop_ms: int = 80
    barge_in_after_ms: int = 150
    interruption_after_ms: int = 1000
    resume_after_ms: int = 500
    echo_likeness: float = 0.42
    echo_below_db: float = 10.0
    complete_after_ms: int = 0
    lone_word_ms: int = 350
    patience_ms: int = 1000
    least_patience_ms: int = 500
    most_patience_ms: int = 1500
    open_end_ms: int = 1600
    final_within_ms: int = 1500
    turn_within_ms: int = 4000
    language_share: float = 0.6
    language_words: int = 3
    filler_after_ms: int = 300
    thinking_filler_after_ms: int = 2500
    first_token_within_ms: int = 3000
    model_within_ms: int = 8000
    voice_within_ms: int = 1500
    apology_after_ms: int = 3800
    silence_within_ms: int = 4800
    playout_grace_ms: int = 2000
    silence_ms: int = 20_000
    max_hold_ms: int = 300_000
    max_cost_cents: int = 0
    max_call_ms: int = 1_800_000
    max_tool_calls: int = 5
    max_tool_rounds: int = 5
    context_window: int = 32_000
    max_tokens: int = 400
    latency_requirement: int = 1500
    speculation: bool = True
    speculations: int = 2
    speak_ahead: bool = True
    stable_after_ms: int = 350
    answer_within_ms: int = 1200
    drain_ms: int = 2000
    thinking_budget: int = 4096
    thinking_within_ms: int = 30_000
    temperature: float | None = None


# What no version may ask for: a call that never ends, or an agent that interrupts at every breath.
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "interruption_threshold": (0.4, 0.95),
    "speech_start_ms": (32, 500),
    "speech_stop_ms": (64, 2000),
    "barge_in_after_ms": (50, 2000),
    "interruption_after_ms": (300, 5000),
    "resume_after_ms": (100, 3000),
    "echo_likeness": (0.2, 1),
    "echo_below_db": (3, 40),
    "complete_after_ms": (0, 3000),
    "lone_word_ms": (0, 2000),
    "patience_ms": (0, 5000),
    "least_patience_ms": (0, 5000),
    "most_patience_ms": (200, 8000),
    "open_end_ms": (200, 8000),
    "final_within_ms": (200, 5000),
    "turn_within_ms": (1000, 15_000),
    "language_share": (0.5, 1),
    "language_words": (1, 50),
    "filler_after_ms": (0, 10_000),
    "thinking_filler_after_ms": (500, 60_000),
    "first_token_within_ms": (300, 20_000),
    "model_within_ms": (1000, 60_000),
    "voice_within_ms": (500, 4000),
    "apology_after_ms": (1500, 4200),
    "silence_within_ms": (4300, 4900),
    "playout_grace_ms": (200, 10_000),
    "silence_ms": (3000, 300_000),
    "max_cost_cents": (0, 1_000_000),
    "max_hold_ms": (10_000, 3_600_000),
    "max_call_ms": (10_000, 14_400_000),
    "max_tool_calls": (0, 5),
    "max_tool_rounds": (0, 10),
    "context_window": (1000, 1_000_000),
    "max_tokens": (16, 8192),
    "latency_requirement": (0, 60_000),
    "speculations": (0, 5),
    "stable_after_ms": (0, 3000),
    "answer_within_ms": (0, 3000),
    "drain_ms": (0, 10_000),
    "thinking_budget": (1024, 64_000),
    "thinking_within_ms": (1000, 60_000),
    "temperature": (0, 1),
}


_E164 = re.compile(r"\+[1-9][0-9]{6,14}\Z")
_SHARES = frozenset({"temperature", "interruption_threshold", "echo_likeness", "echo_below_db", "language_share"})
_SWITCHES = ("speculation", "speak_ahead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The agent's own sentences, where the model does not choose them. An agent's `wording` replaces any by its name.

    Fillers may be several, with a bar between them, and take turns. `yes`, `no` and `stop_recording` are no sentences of the agent's but
    phrases of callers, with commas between, by which they are understood in another language than English. `cannot_go_on` and `cannot_hear`
    promise a call back, as the call's end says; whoever rewords them keeps the promise.
    """

    disclosure: str
    greeting: str
    permission_question: str = "May I record this call, so that we can look up later what we agreed?"
    permission_again: str = "Sorry, may I record this call? Please say yes or no."
    permission_thanks: str = "Thank you."
    permission_refused: str = "All right, I will not record this call."
    recording_impossible: str = "I am sorry, I cannot record at the moment, so this call is not recorded."
    how_can_i_help: str = "How can I help you?"
    recording_stopped: str = "I have stopped recording."
    not_recording: str = "This call is not being recorded."
    not_understood: str = "Sorry, I did not catch that. Could you say it again?"
    trouble_thinking: str = "I am sorry, something went wrong on my side. Could you say that again?"
    cannot_go_on: str = "I am sorry, I cannot help you at the moment. We will call you back. Goodbye."
    cannot_hear: str = "I am sorry, I cannot hear you at the moment. We will call you back. Goodbye."
    still_there: str = "Are you still there?"
    silent_goodbye: str = "I cannot hear anyone, so I will hang up now. Goodbye."
    time_almost_up: str = "I have to tell you that our time is almost over."
    cost_is_up: str = "I am sorry, I have to end this call now. Please call us again if there is anything else. Goodbye."
    time_is_up: str = "I am sorry, our time for this call is over. Goodbye."
    back: str = "Sorry, I'm back."
    back_listening: str = "Sorry, we were cut off for a moment. I'm back, please go on."
    goodbye: str = "Thank you for calling. Goodbye."
    key_in: str = "Please use the keys of your telephone now."
    putting_through: str = "I will put you through now. Please hold the line."
    not_put_through: str = "I am sorry, I could not put you through. How else can I help you?"
    please_hold: str = "One moment please, I am putting you on hold."
    still_on_hold: str = "Thank you for waiting. Please hold the line."
    back_from_hold: str = "Thank you for waiting."
    one_tool: str = "I'll look that up for you..."
    many_tools: str = "Let me check a few things for you..."
    thinking: str = "One moment, please."
    cannot_say: str = "I am sorry, I cannot say more about that."
    please_wait: str = "I am sorry, this takes a little longer. Please stay on the line."
    still_working: str = "Thank you for waiting. I am still on it."
    yes: str = ""
    no: str = ""
    stop_recording: str = ""
    back_channels: str = endings_of("en").back_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Tongue:
    """A language (BCP 47) that the agent speaks: by which voice of its provider's, in which words of its own, said how."""

    language: str
    voice: str
    wording: Wording
    pronunciation: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """`seal` hides the caller's words under the caller's key; equal texts give equal boxes. `models`: logical name to provider's id.

    `wording` and `pronunciation` are of `language`, which is spoken now; `tongues` has all, the first one first, `voices` those of other
    names. `hears_all`: the recogniser tells the languages apart. `digits_as_words`: keys that the caller presses are told to the model.
    `destinations`: where callers may be put through to, by name.
    """

    call_id: str
    caller_ref: str
    caller: Sealed[str]
    worker: str
    recogniser: str
    model_provider: str
    voice: str
    embedded: bool
    system_prompt: str
    wording: Wording
    thresholds: Thresholds
    models: Mapping[str, str]
    seal: Callable[[str], Sealed[str]]
    rules: RuleList = OWNERS_RULES
    guardrails: tuple[Guardrail, ...] = PLATFORM
    tools: tuple[Tool, ...] = ()
    pronunciation: Mapping[str, str] = field(default_factory=dict)
    language: str = "en-US"
    tongues: Mapping[str, Tongue] = field(default_factory=dict)
    voices: Mapping[str, str] = field(default_factory=dict)
    hears_all: bool = False
    ask_to_record: bool = True
    code_execution: bool = False
    resumable: bool = False
    digits_as_words: bool = False
    captures_digits: bool = False
    destinations: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, int] = field(default_factory=dict)


_ON_THE_PHONE = (
    "You are speaking on the phone: answer in one to three short sentences of plain spoken words, without lists, markup or emoji. "
    "You are an AI assistant and never claim to be human. What you read of your own turns is what the caller heard of them. "
    "When the caller wants no recording, use withdraw_recording_consent. When the conversation is over, say goodbye and use end_call."
)


def section(configuration: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a configuration; empty where its owner wrote none, or something else."""
    found = configuration.get(name)
    return found if isinstance(found, Mapping) else {}


def system_prompt(configuration: Mapping[str, Any]) -> str:
    """The agent's own prompt, and what every agent on a phone has to know."""
    own = str(configuration.get("system_prompt", "")).strip()
    return f"{own}\n\n{_ON_THE_PHONE}" if own else _ON_THE_PHONE


def thresholds(configuration: Mapping[str, Any]) -> Thresholds:
    """Read the version's `parameters`; what is no number or not ours is left alone, what is out of bounds is pulled in."""
    automation = section(configuration, "automation")
    given = dict(section(configuration, "parameters"))
    if "max_tool_calls" in automation:
        given["max_tool_calls"] = automation["max_tool_calls"]
    chosen: dict[str, Any] = {}
    for name, (least, most) in _BOUNDS.items():
        value = given.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            bounded = min(max(value, least), most)
            chosen[name] = float(bounded) if name in _SHARES else int(bounded)
    chosen.update({name: given[name] for name in _SWITCHES if isinstance(given.get(name), bool)})
    return Thresholds(**chosen)


def wording(configuration: Mapping[str, Any], organisation_name: str, flags: Mapping[str, str]) -> Wording:
    """The agent's sentences, the greeting by the flag that takes part."""
    own = section(configuration, "wording")
    sentences = {each.name: str(own[each.name]) for each in fields(Wording) if own.get(each.name)}
    disclosure = configuration.get("disclosure") or f"Hello, you have reached {organisation_name}. You are speaking with an AI assistant."
    sentences.setdefault("disclosure", str(disclosure))
    sentences.setdefault("greeting", _greeting(configuration, flags))
    if listened := endings_of(str(section(configuration, "language").get("primary") or "")).back_channels:
        sentences.setdefault("back_channels", listened)
    return Wording(**sentences)


def destinations(configuration: Mapping[str, Any]) -> Mapping[str, str]:
    """Where the agent may put callers through to: `transfer.destinations`, a name to a number in E.164. Others are left out."""
    given = section(section(configuration, "transfer"), "destinations")
    return {str(name)[:80]: str(number) for name, number in given.items() if _E164.match(str(number))}


def voice(configuration: Mapping[str, Any]) -> str:
    """The provider's name of the agent's voice; empty: the usual one."""
    return str(section(configuration, "voice").get("model") or "")


def voices(configuration: Mapping[str, Any]) -> Mapping[str, str]:
    """The provider's names of the agent's other voices, by the agent's: `voice.others`."""
    return {name: str(model) for name, model in section(section(configuration, "voice"), "others").items() if name and model}


def pronunciation(configuration: Mapping[str, Any]) -> Mapping[str, str]:
    """How words are to be said that the voice says otherwise: the version's `pronunciation`, word by word."""
    return {word: said for word, said in section(configuration, "pronunciation").items() if word and isinstance(said, str) and said.strip()}


def said_ahead(words: Wording, *, ask_to_record: bool = True) -> tuple[str, ...]:
    """What nearly every call says in the same words: worth being spoken before anybody calls."""
    asking = (words.permission_question, words.permission_thanks, words.permission_refused) if ask_to_record else ()
    fillers = (*alternatives(words.one_tool), *alternatives(words.many_tools), *alternatives(words.thinking))
    return (words.disclosure, words.greeting, *asking, words.how_can_i_help, *fillers, words.please_wait, words.still_working)


def _greeting(configuration: Mapping[str, Any], flags: Mapping[str, str]) -> str:
    if flags.get(SHORT_GREETING, "off") != "off":
        return str(configuration.get("short_greeting") or "Welcome.")
    return str(configuration.get("greeting") or "Thank you for calling.")
