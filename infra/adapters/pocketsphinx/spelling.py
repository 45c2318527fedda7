"""How written phrases are spoken: numbers in words, and a pronunciation for words that stand in no dictionary."""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

_SHORT: Final = {"dr": "doctor", "mr": "mister", "mrs": "missus", "st": "saint"}


def _names(text: str) -> list[str]:
    return text.split()


_ONES: Final = _names(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = _names("_ _ twenty thirty forty fifty sixty seventy eighty ninety")
_TOKEN: Final = re.compile(r"\d{1,2}:\d{2}|\d+|[a-z]+(?:['’][a-z]+)*|&|%|\$|€|£")
_SIGNS: Final = {"&": ["and"], "%": ["percent"], "$": ["dollars"], "€": ["euros"], "£": ["pounds"]}

# Letter groups and what they usually stand for, the longest first at each place. Good enough for names.
_LETTERS: Final[Mapping[str, str]] = {
    "tion": "SH AH N", "sion": "ZH AH N", "ough": "AO", "augh": "AO", "igh": "AY", "eigh": "EY", "tch": "CH", "dge": "JH",
    "sch": "SH", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "kn": "N", "wr": "R", "ck": "K", "ng": "NG",
    "qu": "K W", "gh": "G", "ai": "EY", "ay": "EY", "ee": "IY", "ea": "IY", "ei": "EY", "ie": "IY", "ey": "IY", "oa": "OW",
    "oo": "UW", "ou": "AW", "ow": "OW", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO", "ew": "UW", "ue": "UW", "ar": "AA R",
    "or": "AO R", "er": "ER", "ir": "ER", "ur": "ER", "ll": "L", "ss": "S", "tt": "T", "nn": "N", "mm": "M", "pp": "P", "rr": "R",
    "ff": "F", "bb": "B", "dd": "D", "gg": "G", "zz": "Z", "cc": "K", "ce": "S", "ci": "S IH", "cy": "S IY", "a": "AE", "b": "B",
    "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N",
    "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip
_OPEN_END: Final[Mapping[str, str]] = {"a": "AH", "e": "", "i": "IY", "o": "OW", "u": "UW"}


def number_in_words(number: int) -> list[str]:
    """`nine hundred ninety nine thousand …` at most; larger numbers digit by digit."""
    if number < 20:
        return [_ONES[number]]
    if number < 100:
        tens, ones = divmod(number, 10)
        return [_TENS[tens], *([_ONES[ones]] if ones else [])]
    for unit, name in ((1000, "thousand"), (100, "hundred")):
        if unit <= number < unit * 1000:
            count, rest = divmod(number, unit)
            return [*number_in_words(count), name, *(number_in_words(rest) if rest else [])]
    return [_ONES[int(digit)] for digit in str(number)]


def spoken(phrase: str) -> list[str]:
    """The words of a written phrase as a person says them, in small letters."""
    words: list[str] = []
    for token in _TOKEN.findall(phrase.lower()):
        if token in _SIGNS:
            words += _SIGNS[token]
        elif ":" in token:
            hour, minute = (int(part) for part in token.split(":"))
            words += number_in_words(hour) + (["oh"] if 0 < minute < 10 else []) + (number_in_words(minute) if minute else ["o'clock"])
        elif token.isdigit():
            words += number_in_words(int(token))
        else:
            words.append(_SHORT.get(token, token.replace("’", "'")))
    return words


def pronounced(word: str, dictionary: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The dictionary's pronunciations; else those of the two words it is made of; else one by the letters' usual sounds."""
    if word in dictionary:
        return dictionary[word]
    if word.endswith("'s") and word[:-2] in dictionary:
        return tuple(f"{phones} Z" for phones in dictionary[word[:-2]])
    for middle in sorted(range(3, len(word) - 2), key=lambda at: abs(at - len(word) / 2)):
        first, second = dictionary.get(word[:middle]), dictionary.get(word[middle:])
        if first and second:
            return (f"{first[0]} {second[0]}",)
    by_letters = _by_letters(word)
    return (by_letters,) if by_letters else ()


def _by_letters(word: str) -> str:
    phones: list[str] = []
    letters = re.sub(r"[^a-z]", "", word)
    at = 0
    while at < len(letters):
        if at == len(letters) - 1 and letters[at] in _OPEN_END:
            phones += _OPEN_END[letters[at]].split()
            break
        length = next(length for length in (4, 3, 2, 1) if letters[at : at + length] in _LETTERS)
        phones += _LETTERS[letters[at : at + length]].split()
        at += length
    return " ".join(phones[:1] + [after for before, after in pairwise(phones) if after != before])
