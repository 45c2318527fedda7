"""Times of day as callers say them."""

import re
from collections.abc import Sequence
from typing import Final

from infra.adapters.scripted_model.words import number

_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}\Z")
_NOTHING: Final = ("", frozenset[int]())


def time_in(spoken: Sequence[str]) -> tuple[str, frozenset[int]]:
    """The first time of day in these words as `10:30`, a bare hour as `10:`; and the places of its words."""
    for at, word in enumerate(spoken):
        rest = spoken[at + 1 :]
        if _CLOCK.match(word):
            hours, minutes = (int(part) for part in word.split(":"))
            return _clock(hours, minutes, rest), frozenset({at})
        if word in ("half", "quarter") and len(rest) >= 2 and rest[0] in ("past", "to", "after", "before"):
            hour = number(rest[1])
            if hour is not None and 1 <= hour <= 12:
                minutes, before = (30 if word == "half" else 15), rest[0] in ("to", "before")
                return _clock(hour - before, 60 - minutes if before else minutes, rest[2:]), frozenset(range(at, at + 3))
        hour = number(word)
        if hour is None or not 1 <= hour <= 19:
            continue
        minute, length = _minute(rest)
        if minute is not None:
            return _clock(hour, minute, rest[length:]), frozenset(range(at, at + 1 + length))
        if rest[:1] in (["o'clock"], ["am"], ["pm"]):
            return _clock(hour, 0, rest), frozenset({at, at + 1})
        # "The first one" is no hour.
        if word != "one" or (at and spoken[at - 1] == "at"):
            return f"{_of_the_day(hour, rest):02}:", frozenset({at})
    for at, word in enumerate(spoken):
        if word in ("noon", "midday"):
            return "12:00", frozenset({at})
    return _NOTHING


def _minute(rest: Sequence[str]) -> tuple[int | None, int]:
    first = number(rest[0]) if rest else None
    second = number(rest[1]) if len(rest) > 1 else None
    if rest and rest[0] in ("oh", "o") and second is not None and second < 10:
        return second, 2
    if first is None or first < 10:
        return None, 0
    if first >= 20 and first % 10 == 0 and second is not None and 0 < second < 10:
        return first + second, 2
    return (first, 1) if first < 60 else (None, 0)


def _clock(hour: int, minute: int, rest: Sequence[str]) -> str:
    return f"{_of_the_day(hour, rest):02}:{minute:02}"


def _of_the_day(hour: int, rest: Sequence[str]) -> int:
    """Business hours: without more words, one to six are in the afternoon."""
    if "am" in rest[:2] or "morning" in rest[:4]:
        return hour % 12
    if hour < 12 and ("pm" in rest[:2] or "afternoon" in rest[:4] or "evening" in rest[:4] or hour <= 6):
        return hour + 12
    return hour
