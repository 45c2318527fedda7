"""Cuts a model's stream of text into pieces worth saying: the first clause early, then sentence by sentence."""

import re

_SENTENCE = re.compile(r"[.!?…]+[\"')\]]*\s+|\n+")
_CLAUSE = re.compile(r"[,;:]\s+|\s[–—-]\s+")
# Titles and the like, whose full stop ends nothing.
_ABBREVIATED = re.compile(r"\b(mr|mrs|ms|dr|st|no|vs|e\.g|i\.e|approx|[a-z])\.\s+$", re.IGNORECASE)
_EARLIEST_CLAUSE = 24


def cut(buffer: str, least: int, *, first: bool) -> tuple[list[str], str]:
    """Whole pieces of at least `least` characters, and the rest. `first`: nothing of the reply was said yet, so a clause will do."""
    pieces: list[str] = []
    start = search_from = 0
    while found := _SENTENCE.search(buffer, search_from):
        search_from = found.end()
        piece = buffer[start : found.end()]
        if _ABBREVIATED.search(piece) or len(piece.strip()) < least:
            continue
        pieces.append(piece.strip())
        start = found.end()
    rest = buffer[start:]
    if first and not pieces and least == 1 and (clause := _clause(rest)):
        pieces.append(rest[:clause].strip())
        rest = rest[clause:]
    return [piece for piece in pieces if speakable(piece)], rest


def speakable(text: str) -> bool:
    """Whether there is anything in it that a voice could say."""
    return any(character.isalnum() for character in text)


def _clause(text: str) -> int:
    for found in _CLAUSE.finditer(text):
        if found.start() >= _EARLIEST_CLAUSE:
            return found.end()
    return 0
