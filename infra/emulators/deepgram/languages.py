"""Which language each word of an emulated recogniser is of, by short lists: as much of a language as a test says of it."""

from collections.abc import Iterable, Mapping
from typing import Final

# developers.deepgram.com/docs/models-languages-overview: what Nova-3 has, one language at a time and among others.
MONOLINGUAL: Final = frozenset(
    [
        "bg",
        "ca",
        "cs",
        "da",
        "de",
        "el",
        "en",
        "es",
        "et",
        "fi",
        "fr",
        "hi",
        "hu",
        "id",
        "it",
        "ja",
        "ko",
        "lt",
        "lv",
        "ms",
        "nl",
        "no",
        "pl",
        "pt",
        "ro",
        "ru",
        "sk",
        "sv",
        "tr",
        "uk",
        "vi",
        "zh",
    ]
)
MULTILINGUAL: Final = MONOLINGUAL | frozenset(
    ["af", "ar", "be", "bn", "bs", "fa", "gl", "gu", "he", "hr", "kn", "mk", "mr", "sl", "sr", "ta", "te", "th", "tl", "ur", "xh", "zu"]
)
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "es": frozenset({"hola", "quisiera", "una", "cita", "por", "favor", "gracias", "cuando", "esta", "abierto", "para", "el", "martes"}),
}
_ELSE: Final = "en"


def language_of(word: str) -> str:
    return next((language for language, words in _WORDS.items() if word.lower() in words), _ELSE)


def by_share(languages: Iterable[str]) -> list[str]:
    """Each once, the one with most words first."""
    told = list(languages)
    return sorted(dict.fromkeys(told), key=lambda language: (-told.count(language), language))


def base(tag: str) -> str:
    return tag.partition("-")[0].lower()


def understood(word: str, language: str) -> bool:
    """A model of one language makes nothing of another's words. Those of languages without a list here speak English."""
    return language == "multi" or base(language) not in {*_WORDS, _ELSE} or language_of(word) == base(language)
