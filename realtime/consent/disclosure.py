"""That an AI is speaking is said first, heard whole, and said again until it was."""

from dataclasses import dataclass, replace

from events.calls.talking import DisclosureSpoken, Evidence
from realtime.audio import BYTES_PER_MS
from realtime.speaking.playout import Purpose, Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """`attempts` counts how often it was begun; `heard` is set by evidence alone."""

    attempts: int = 0
    heard: bool = False


def begun(disclosure: Disclosure) -> Disclosure:
    return replace(disclosure, attempts=disclosure.attempts + 1)


def spoken(disclosure: Disclosure, played: Utterance) -> tuple[Disclosure, DisclosureSpoken | None]:
    """The fact, the first time that a mark proves the whole sentence to have played."""
    if played.purpose is not Purpose.DISCLOSURE or played.played_ms is None or not played.samples or disclosure.heard:
        return disclosure, None
    fact = DisclosureSpoken(
        started_ms=played.from_sample // BYTES_PER_MS, heard_ms=played.played_ms, evidence=Evidence.PLAYED, attempt=disclosure.attempts
    )
    return replace(disclosure, heard=True), fact
