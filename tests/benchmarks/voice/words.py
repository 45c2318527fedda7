"""Speech put together from single spoken words, so that which word sounds where is known to the sample, and can be read off the sound."""

import random
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from infra.adapters.flite import PROGRAM, telephone_sound
from realtime.audio import BYTES_PER_MS, decode, encode

_CODES: Final = encode(np.arange(-88, 89).astype(np.int16))
QUIET: Final = bytes(sorted({*_CODES, 0x7F}))
"""The codes of a line on which nobody speaks: no word begins or ends with one of them."""
_KEY_BYTES: Final = 24
# Between two words, after a comma, after a full stop: as people do.
_GAPS_MS: Final[Mapping[str, int]] = {"": 40, ",": 160, ".": 280, "?": 280, "!": 280, ";": 160, ":": 160}
_STRETCH: Final = 0.52
_WORDS: Final = re.compile(r"([\w'’-]+)([,.?!;:]?)")


def noise(length: int, draws: random.Random) -> bytes:
    """A quiet line, some 62 dB below full scale."""
    samples = np.clip(np.random.default_rng(draws.getrandbits(32)).normal(0, 26, length), -80, 80)
    return encode(samples.astype(np.int16))


def words_of(text: str) -> list[str]:
    """The words of a text, as a dictionary has them."""
    return [word.lower() for word, _ in _WORDS.findall(text)]


@dataclass(slots=True)
class Dictionary:
    """How one voice says each word: mu-law that begins and ends with sound. Words are told apart by their first 3 ms."""

    voice: str
    sounds: dict[str, bytes] = field(default_factory=dict)
    _by_key: dict[bytes, str] = field(default_factory=dict)

    def learn(self, texts: Iterable[str]) -> None:
        """Have the words of some texts spoken, one run of the voice for each."""
        for text in texts:
            self.learn_now(text)

    def learn_now(self, text: str) -> int:
        """How many words were not known: who waits for them waits for the voice."""
        unknown = [word for word in dict.fromkeys(words_of(text)) if word not in self.sounds]
        for word in unknown:
            self.put(word, _sounding(_spoken(word, self.voice)))
        return len(unknown)

    def put(self, word: str, sound: bytes) -> None:
        """Words that begin alike are the same word to a reader: the first keeps its beginning, the other is made one sample later."""
        while sound[:_KEY_BYTES] in self._by_key:
            sound = _sounding(sound[1:])
        self.sounds[word] = sound
        self._by_key[sound[:_KEY_BYTES]] = word

    def speak(self, text: str, gap: bytes = b"\xff" * 8000, pauses: Mapping[int, int] = {}) -> bytes:
        """A text aloud, its pauses cut from `gap`; `pauses`: more milliseconds after the word of that number."""
        pieces: list[bytes] = []
        found = _WORDS.findall(text)
        for index, (word, mark) in enumerate(found):
            pieces.append(self.sounds[word.lower()])
            pause_ms = pauses.get(index, _GAPS_MS[mark])
            if index + 1 < len(found):
                pieces.append(gap[: pause_ms * BYTES_PER_MS])
        return b"".join(pieces)

    def starts(self, sound: bytes) -> str | None:
        """The word that begins here, if it is one of ours."""
        return self._by_key.get(sound[:_KEY_BYTES])


def _spoken(word: str, voice: str) -> bytes:
    # A word by itself is drawn out: as fast as within a sentence.
    with tempfile.NamedTemporaryFile(suffix=".wav") as made:
        command = [PROGRAM, "-voice", voice, "--setf", f"duration_stretch={_STRETCH}", "-t", word, "-o", made.name]
        subprocess.run(command, check=True)
        return telephone_sound(made.read())


def _sounding(mulaw: bytes) -> bytes:
    sounding = mulaw.strip(QUIET)
    if len(sounding) < _KEY_BYTES:
        raise ValueError("a word without a sound")
    return sounding


@dataclass(frozen=True, slots=True)
class Word:
    """Bytes of the stream from its beginning to its end."""

    text: str
    start: int
    end: int


@dataclass(slots=True)
class Reader:
    """Reads the words off a stream of bytes. What sounds and is no whole word of the dictionary is counted as lost."""

    dictionary: Dictionary
    position: int = 0
    lost_bytes: int = 0
    _rest: bytes = b""
    _word: str = ""
    _left: bytes = b""
    _began: int = 0

    def feed(self, mulaw: bytes) -> list[Word]:
        """The words that are complete with these bytes."""
        if not self._word and not self._rest and not mulaw.translate(None, QUIET):
            self.position += len(mulaw)
            return []
        found: list[Word] = []
        mulaw = self._rest + mulaw
        at = self.position - len(self._rest)
        self._rest = b""
        while mulaw:
            if self._word:
                taken, mulaw, at = self._within(mulaw, at, found)
                if taken:
                    continue
            sounding = mulaw.lstrip(QUIET)
            at += len(mulaw) - len(sounding)
            if len(sounding) < _KEY_BYTES:
                self._rest = sounding
                at += len(sounding)
                break
            word = self.dictionary.starts(sounding)
            if word is None:
                self.lost_bytes += 1
                mulaw, at = sounding[1:], at + 1
                continue
            self._word, self._left, self._began = word, self.dictionary.sounds[word], at
            mulaw = sounding
        self.position = at
        return found

    @property
    def within_word(self) -> bool:
        return bool(self._word)

    def _within(self, mulaw: bytes, at: int, found: list[Word]) -> tuple[bool, bytes, int]:
        length = min(len(self._left), len(mulaw))
        if self._left[:length] != mulaw[:length]:
            # Cut off in the middle: what follows is read anew.
            self._word, self._left = "", b""
            return False, mulaw, at
        self._left, mulaw, at = self._left[length:], mulaw[length:], at + length
        if not self._left:
            found.append(Word(self._word, self._began, at))
            self._word = ""
        return True, mulaw, at


def rms(mulaw: bytes) -> float:
    """Loudness, for those who look at what they made."""
    samples = decode(mulaw).astype(np.float64)
    return float(np.sqrt((samples**2).mean())) if len(samples) else 0.0
