"""What a client may ask of the emulated Deepgram: the query of a handshake, checked as the real one checks it, and stricter."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.emulators.deepgram.languages import MONOLINGUAL, MULTILINGUAL, base


class BadRequest(Exception):
    """The handshake is refused with status 400 and these words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenParameters:
    """`endpointing_ms` None: finals come only by `Finalize`. `utterance_end_ms` None: no UtteranceEnd messages.

    `language` is `multi` where each word is told with its own; `hinted` are those to be expected then.
    """

    interim_results: bool
    punctuate: bool
    vad_events: bool
    endpointing_ms: int | None
    utterance_end_ms: int | None
    key_terms: tuple[str, ...]
    language: str = "en"
    hinted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxParameters:
    """`eager_eot_threshold` None: no EagerEndOfTurn, and so no TurnResumed."""

    eot_threshold: float
    eager_eot_threshold: float | None
    eot_timeout_ms: int
    key_terms: tuple[str, ...]

    def changed(self, thresholds: Mapping[str, float]) -> "FluxParameters":
        """With other thresholds in mid-stream. Raises BadRequest."""
        unknown = sorted(thresholds.keys() - {"eot_threshold", "eager_eot_threshold", "eot_timeout_ms"})
        if unknown:
            raise BadRequest(f"unknown thresholds: {', '.join(unknown)}")
        eager = thresholds.get("eager_eot_threshold", self.eager_eot_threshold)
        return _flux_bounds(
            float(thresholds.get("eot_threshold", self.eot_threshold)), None if eager is None else float(eager),
            int(thresholds.get("eot_timeout_ms", self.eot_timeout_ms)), self.key_terms,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakParameters:
    model: str


_LISTEN: Final = frozenset(
    {
        "model", "language", "encoding", "sample_rate", "channels", "interim_results", "punctuate", "smart_format", "vad_events",
        "endpointing", "utterance_end_ms", "keyterm", "mip_opt_out", "tag", "numerals", "profanity_filter", "filler_words", "no_delay",
        "language_hint",
    }
)  # fmt: skip
_FLUX: Final = frozenset(
    {
        "model", "encoding", "sample_rate", "eot_threshold", "eager_eot_threshold", "eot_timeout_ms", "keyterm", "language_hint",
        "mip_opt_out", "tag", "numerals", "profanity_filter", "redact",
    }
)  # fmt: skip
_SPEAK: Final = frozenset({"model", "encoding", "sample_rate", "mip_opt_out", "speed"})
_NOVA_3: Final = frozenset({"nova-3", "nova-3-general"})
_DEFAULT_ENDPOINTING_MS: Final = 10
_SHORTEST_UTTERANCE_END_MS: Final = 1000
_MOST_KEY_TERM_WORDS: Final = 500
_DEFAULT_VOICE: Final = "aura-asteria-en"
# developers.deepgram.com/docs/tts-models: Aura speaks English, Aura-2 seven languages; a voice's name ends with its own.
_VOICE: Final = re.compile(r"(aura-[a-z]+-en|aura-2-[a-z]+-(en|es|de|fr|nl|it|ja))\Z")


class _Query:
    def __init__(self, query: Sequence[tuple[str, str]], known: frozenset[str], repeated: frozenset[str]) -> None:
        unknown = sorted({name for name, _ in query} - known)
        if unknown:
            raise BadRequest(f"unknown query parameters: {', '.join(unknown)}")
        self._values: Mapping[str, str] = dict(query)
        twice = sorted(name for name in self._values if name not in repeated and sum(name == other for other, _ in query) > 1)
        if twice:
            raise BadRequest(f"given more than once: {', '.join(twice)}")

    def text(self, name: str, otherwise: str | None = None) -> str | None:
        return self._values.get(name, otherwise)

    def flag(self, name: str) -> bool:
        value = self._values.get(name, "false")
        if value not in ("true", "false"):
            raise BadRequest(f"{name} must be true or false")
        return value == "true"

    def number(self, name: str, otherwise: int | None = None) -> int | None:
        value = self._values.get(name)
        if value is None:
            return otherwise
        if not value.isdigit():
            raise BadRequest(f"{name} must be a number")
        return int(value)

    def share(self, name: str, otherwise: float | None) -> float | None:
        value = self._values.get(name)
        try:
            return otherwise if value is None else float(value)
        except ValueError as error:
            raise BadRequest(f"{name} must be a number") from error


def _check_sound(query: _Query) -> None:
    """The phone's sound is the only one that this emulator has ears and a voice for."""
    if query.text("encoding") != "mulaw" or query.number("sample_rate") != 8000 or query.number("channels", 1) != 1:
        raise BadRequest("encoding=mulaw, sample_rate=8000 and one channel are needed here")


def listen_parameters(query: Sequence[tuple[str, str]]) -> ListenParameters:
    """Raises BadRequest."""
    read = _Query(query, _LISTEN, frozenset({"keyterm", "tag", "language_hint"}))
    if read.text("model") not in _NOVA_3:
        raise BadRequest("no such model/language/tier combination found")
    language = read.text("language", "en") or ""
    if language != "multi" and base(language) not in MONOLINGUAL:
        raise BadRequest("no such model/language/tier combination found")
    hints = tuple(value for name, value in query if name == "language_hint")
    if hints and language != "multi":
        raise BadRequest("language_hint needs language=multi")
    if unknown := [hint for hint in hints if base(hint) not in MULTILINGUAL]:
        raise BadRequest(f"language_hint has no such languages: {', '.join(unknown)}")
    _check_sound(read)
    key_terms = tuple(value for name, value in query if name == "keyterm")
    if sum(len(term.split()) for term in key_terms) > _MOST_KEY_TERM_WORDS:
        raise BadRequest("keyterm limit exceeded: the maximum is 500 tokens across all keyterms")
    interim_results = read.flag("interim_results")
    utterance_end_ms = read.number("utterance_end_ms")
    if utterance_end_ms is not None and (utterance_end_ms < _SHORTEST_UTTERANCE_END_MS or not interim_results):
        raise BadRequest("utterance_end_ms must be 1000 or more and needs interim_results=true")
    endpointing = None if read.text("endpointing") == "false" else read.number("endpointing", _DEFAULT_ENDPOINTING_MS)
    return ListenParameters(
        language=language,
        hinted=tuple(dict.fromkeys(map(base, hints))),
        interim_results=interim_results,
        punctuate=read.flag("punctuate") or read.flag("smart_format"),
        vad_events=read.flag("vad_events"),
        endpointing_ms=endpointing,
        utterance_end_ms=utterance_end_ms,
        key_terms=key_terms,
    )


def flux_parameters(query: Sequence[tuple[str, str]]) -> FluxParameters:
    """Raises BadRequest."""
    read = _Query(query, _FLUX, frozenset({"keyterm", "tag", "language_hint", "redact"}))
    if read.text("model") != "flux-general-en":
        raise BadRequest("no such model found, or none that this emulator has ears for")
    if read.text("language_hint") is not None:
        raise BadRequest("language_hint needs flux-general-multi")
    _check_sound(read)
    eager = read.share("eager_eot_threshold", None)
    return _flux_bounds(
        read.share("eot_threshold", 0.7) or 0.0, eager, read.number("eot_timeout_ms", 5000) or 0,
        tuple(value for name, value in query if name == "keyterm"),
    )  # fmt: skip


def _flux_bounds(over: float, eager: float | None, timeout_ms: int, key_terms: tuple[str, ...]) -> FluxParameters:
    if not 0.5 <= over <= 1.0:
        raise BadRequest("eot_threshold must be between 0.5 and 1.0")
    if eager is not None and not 0.3 <= eager <= min(0.9, over):
        raise BadRequest("eager_eot_threshold must be between 0.3 and 0.9, and no more than eot_threshold")
    if not 500 <= timeout_ms <= 60_000:
        raise BadRequest("eot_timeout_ms must be between 500 and 60000")
    if sum(len(term.split()) for term in key_terms) > _MOST_KEY_TERM_WORDS:
        raise BadRequest("keyterm limit exceeded: the maximum is 500 tokens across all keyterms")
    return FluxParameters(eot_threshold=over, eager_eot_threshold=eager, eot_timeout_ms=timeout_ms, key_terms=key_terms)


def speak_parameters(query: Sequence[tuple[str, str]]) -> SpeakParameters:
    """Raises BadRequest."""
    read = _Query(query, _SPEAK, frozenset())
    model = read.text("model", _DEFAULT_VOICE) or ""
    if not _VOICE.match(model):
        raise BadRequest("no such model found")
    _check_sound(read)
    return SpeakParameters(model=model)
