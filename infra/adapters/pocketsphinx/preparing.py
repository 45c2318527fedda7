"""Builds what the decoder needs for one business, in a process of its own, and keeps it: the same vocabulary is never built twice.

Building takes some seconds of pure computing and three hundred megabytes, so it has no place in a process that holds calls.
"""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from infra.adapters.pocketsphinx.bundled import dictionary, read_general_english
from infra.adapters.pocketsphinx.mixture import Mixture, Recipe, mix, write_arpa
from infra.adapters.pocketsphinx.spelling import pronounced, spoken
from infra.adapters.spawning import ended, spawned

RECIPE: Final = Recipe()
_FORMAT: Final = "2"
_MODEL: Final = "words.lm.bin"
_DICTIONARY: Final = "words.dict"

# A guess must not put a curse into a caller's mouth: these are heard only where a business has them in its own phrases.
_NEVER_GUESSED: Final = frozenset(
    [
        "ass",
        "asshole",
        "bastard",
        "bitch",
        "bitches",
        "crap",
        "cunt",
        "damn",
        "damned",
        "dick",
        "fuck",
        "fucked",
        "fucking",
        "piss",
        "shit",
        "whore",
    ]
)


class PreparingFailed(Exception):
    """The model of a vocabulary could not be built; the text is the builder's last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Where the language model and the dictionary of one vocabulary lie."""

    model: Path
    dictionary: Path


def _everyday_phrases() -> list[str]:
    """What callers of any business say: greetings, answers, questions, days, times, numbers."""
    return (files("infra.adapters.pocketsphinx") / "telephone_english.txt").read_text().splitlines()


def _phrases(vocabulary: Iterable[str]) -> list[list[str]]:
    """Sorted, so that the same phrases in another order are the same vocabulary."""
    own = sorted({tuple(spoken(phrase)) for phrase in vocabulary})
    return [list(words) for words in (*own, *(spoken(phrase) for phrase in _everyday_phrases())) if words]


def _folder(cache: Path, phrases: Sequence[Sequence[str]]) -> Path:
    content = json.dumps([_FORMAT, asdict(RECIPE), phrases])
    return cache / f"english-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def build(cache: Path, vocabulary: Sequence[str]) -> Prepared:
    """Build, or find what was built before. Two builders of the same vocabulary do not disturb each other."""
    phrases = _phrases(vocabulary)
    folder = _folder(cache, phrases)
    found = Prepared(model=folder / _MODEL, dictionary=folder / _DICTIONARY)
    if found.model.exists():
        return found
    cache.mkdir(parents=True, exist_ok=True)
    known = dictionary()
    own = {word: pronounced(word, known) for phrase in phrases for word in phrase}
    sayable = [[word for word in phrase if own[word]] for phrase in phrases]
    polite = {word: phones for word, phones in known.items() if word not in _NEVER_GUESSED}
    pronunciations = polite | {word: phones for word, phones in own.items() if phones}
    model = mix(read_general_english(RECIPE.least_gain), [phrase for phrase in sayable if phrase], frozenset(pronunciations), RECIPE)
    workshop = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
    try:
        _write(model, pronunciations, workshop)
        workshop.rename(folder)
    except OSError:
        # Another builder was faster: its folder is whole and the same.
        if not found.model.exists():
            raise
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return found


def _write(model: Mixture, pronunciations: dict[str, tuple[str, ...]], folder: Path) -> None:
    from pocketsphinx import Config, LogMath, NGramModel  # noqa: PLC0415 - only the builder's process needs the library

    lines = (
        f"{word}{f'({variant})' if variant > 1 else ''} {phones}\n"
        for word in model.words
        for variant, phones in enumerate(pronunciations.get(word, ()), start=1)
    )
    (folder / _DICTIONARY).write_text("".join(lines))
    text = folder / "words.lm"
    write_arpa(model, text)
    # The model keeps no reference to the logarithms it was made with.
    logarithms = LogMath()
    NGramModel(Config(lm=None, loglevel="FATAL"), logarithms, str(text)).write(str(folder / _MODEL), NGramModel.str_to_type("bin"))
    text.unlink()


async def prepare(cache: Path, vocabulary: Sequence[str]) -> Prepared:
    """Find or build, without blocking the loop. Raises PreparingFailed."""
    folder = _folder(cache, _phrases(vocabulary))
    found = Prepared(model=folder / _MODEL, dictionary=folder / _DICTIONARY)
    if not found.model.exists():
        builder = await spawned(
            *(sys.executable, "-m", "infra.adapters.pocketsphinx.preparing", str(cache)),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, complaint = await builder.communicate(json.dumps(list(vocabulary)).encode())
        finally:
            await ended(builder)
        if builder.returncode:
            raise PreparingFailed(complaint.decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {builder.returncode}")
    return found


if __name__ == "__main__":
    os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    build(Path(sys.argv[1]), json.load(sys.stdin))
