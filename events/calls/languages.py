"""In which language a call goes on, and by which voice of it."""

from dataclasses import dataclass
from enum import StrEnum

from events.registry import event


class ChosenBy(StrEnum):
    """Who chose a language."""

    AGENT = "agent"
    """The model asked for it."""
    RECOGNISER = "recogniser"
    """The caller's words were of it, as the recogniser tells."""


@event("language-changed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageChanged:
    """From here on the agent speaks another language (BCP 47). `voice` is its provider's name.

    Where the recogniser told: so many of the caller's last words were of it, in this turn and those right before that leant to it.
    """

    turn: int
    language: str
    instead_of: str
    voice: str
    by: ChosenBy
    told_words: int
    of_words: int
    at_ms: int


@event("voice-changed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceChanged:
    """From here on another voice of the agent's speaks the same language. `name` is the agent's for it, empty: the language's usual one."""

    turn: int
    name: str
    voice: str
    language: str
    at_ms: int
