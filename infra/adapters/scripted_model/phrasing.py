"""How values are said aloud: times, days, lists and whatever a tool may answer."""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from infra.adapters.scripted_model.script import DAYS
from infra.adapters.scripted_model.words import spoken_time

Json: TypeAlias = Any
_SLOT: Final = re.compile(r"\{(\w+)\}")
_CLOCK: Final = re.compile(r"\d{2}:\d{2}\Z")


def fill(text: str, values: Mapping[str, Json]) -> str:
    """Put values in the places of their names; a name without a value leaves nothing."""
    filled = _SLOT.sub(lambda found: spoken(values.get(found[1], "")), text)
    return re.sub(r"\s+([.,?!])", r"\1", re.sub(r"\s{2,}", " ", filled)).strip()


def spoken(value: Json) -> str:
    """Words for a value; an object is said entry by entry."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str() if _CLOCK.match(value):
            return spoken_time(value)
        case str() if value.lower() in DAYS:
            return value.capitalize()
        case list():
            parts = [spoken(each) for each in value]
            return (
                parts[0] if len(parts) == 1 else " or ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part) if parts else ""
            )
        case Mapping():
            return " ".join(f"{str(name).replace('_', ' ').capitalize()}: {spoken(each)}." for name, each in value.items())
        case _:
            return str(value)


def plain(words: str) -> str:
    """The caller's words to be said back to them, not too many of them."""
    said = words.strip().rstrip(".?!").split()
    return " ".join(said[:12])
