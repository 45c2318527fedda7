"""Reads the general English model and dictionary that come with pocketsphinx, as arrays.

The package can look single n-grams up but neither list them nor mix two models, so the file is read here. Its format
(pocketsphinx 5, `lm_trie.c`): magic, order, counts, quantisation tables, unigrams, then two bit-packed arrays. N-grams hang
in a trie from the predicted word backwards: predicted word, the word before it, the one before that.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import get_model_path

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MAGIC: Final = b"Trie Language Model"
_ORDER: Final = 3
_TABLE_ENTRIES: Final = 1 << 16
_UNIGRAM: Final = np.dtype([("probability", "<f4"), ("backoff", "<f4"), ("children", "<u4")])
_LOG_BASE: Final = 1.0001


class UnknownModelFormat(Exception):
    """The bundled model is not the file that this reader knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralEnglish:
    """A back-off trigram model; logarithms are natural, rows sorted by predicted word, then the word before.

    A bigram row says P(word | before) and the back-off weight of the history `before word`; a trigram row belongs to
    bigram row `bigram` and says P(word | earlier before).
    """

    words: tuple[str, ...]
    unigram: Floats
    unigram_backoff: Floats
    bigram_word: Ints
    bigram_before: Ints
    bigram: Floats
    bigram_backoff: Floats
    trigram_of: Ints
    trigram_earlier: Ints
    trigram: Floats


def _bit_fields(packed: NDArray[np.uint8], count: int, stride: int, offset: int, width: int) -> Ints:
    """`count` numbers of `width` bits, one every `stride` bits; the array has eight bytes to spare at its end."""
    bit = np.arange(count, dtype=np.int64) * stride + offset
    byte = bit >> 3
    value = np.zeros(count, np.uint64)
    for step in range(8):
        value |= packed[byte + step].astype(np.uint64) << np.uint64(8 * step)
    return ((value >> (bit & 7).astype(np.uint64)) & np.uint64((1 << width) - 1)).astype(np.int64)


def _counts(starts: Ints) -> Ints:
    return starts[1:] - starts[:-1]


def read_trie(path: Path) -> GeneralEnglish:
    """Read a trigram model in pocketsphinx's binary trie format; raises UnknownModelFormat."""
    raw = path.read_bytes()
    at = len(_MAGIC)
    if not raw.startswith(_MAGIC) or raw[at] != _ORDER:
        raise UnknownModelFormat(str(path))
    unigrams, bigrams, trigrams = struct.unpack_from("<3I", raw, at + 1)
    at += 1 + 3 * 4 + 4
    tables = np.frombuffer(raw, "<f4", 3 * _TABLE_ENTRIES, at).reshape(3, _TABLE_ENTRIES).astype(np.float64)
    at += 3 * 4 * _TABLE_ENTRIES
    unigram = np.frombuffer(raw, _UNIGRAM, unigrams + 1, at)
    at += _UNIGRAM.itemsize * (unigrams + 1)

    word_bits, child_bits = int(unigrams).bit_length(), int(trigrams).bit_length()
    middle_stride, last_stride = word_bits + 32 + child_bits, word_bits + 16
    middle_bytes = ((1 + bigrams) * middle_stride + 7) // 8 + 8
    last_bytes = ((1 + trigrams) * last_stride + 7) // 8 + 8
    middle = np.frombuffer(raw, np.uint8, middle_bytes, at)
    last = np.frombuffer(raw, np.uint8, last_bytes, at + middle_bytes)
    at += middle_bytes + last_bytes
    words = raw[at + 4 : at + 4 + struct.unpack_from("<I", raw, at)[0]].decode().split("\0")[:unigrams]

    # Both headers count a few rows that are not there; the row after the last says where the rows below it end.
    pairs = int(unigram["children"][unigrams])
    children = _bit_fields(middle, pairs + 1, middle_stride, word_bits + 32, child_bits)
    triples = int(children[pairs])
    scale = np.log(_LOG_BASE)
    return GeneralEnglish(
        words=tuple(words),
        unigram=unigram["probability"][:unigrams] * scale,
        unigram_backoff=unigram["backoff"][:unigrams] * scale,
        bigram_word=np.repeat(np.arange(unigrams), _counts(unigram["children"].astype(np.int64))),
        bigram_before=_bit_fields(middle, pairs, middle_stride, 0, word_bits),
        bigram=tables[0][_bit_fields(middle, pairs, middle_stride, word_bits + 16, 16)] * scale,
        bigram_backoff=tables[1][_bit_fields(middle, pairs, middle_stride, word_bits, 16)] * scale,
        trigram_of=np.repeat(np.arange(pairs), _counts(children)),
        trigram_earlier=_bit_fields(last, triples, last_stride, 0, word_bits),
        trigram=tables[2][_bit_fields(last, triples, last_stride, word_bits, 16)] * scale,
    )


def pruned(model: GeneralEnglish, least_gain: float) -> GeneralEnglish:
    """Without the n-grams that say nearly what backing off would have said, weighted by how often they occur.

    The sum over n-grams of such weights is the change of the model's entropy, in nats a word. Rows that are the history of a
    row that stays do stay. The back-off weights are as they were, and no longer make the rest sum to one.
    """
    size = len(model.words)
    pair_key = model.bigram_word * size + model.bigram_before
    joint = np.exp(model.unigram[model.bigram_before] + model.bigram)
    history_key = model.bigram_before[model.trigram_of] * size + model.trigram_earlier
    order = np.argsort(pair_key)
    history = order[np.minimum(np.searchsorted(pair_key, history_key, sorter=order), len(order) - 1)]
    known = pair_key[history] == history_key
    gained = np.abs(model.trigram - model.bigram_backoff[history] - model.bigram[model.trigram_of])
    triples = known & (joint[history] * np.exp(model.trigram) * gained > least_gain)
    pairs = joint * np.abs(model.bigram - model.unigram_backoff[model.bigram_before] - model.unigram[model.bigram_word]) > least_gain
    pairs[model.trigram_of[triples]] = True
    pairs[history[triples]] = True
    renumbered = np.cumsum(pairs) - 1
    return replace(
        model,
        bigram_word=model.bigram_word[pairs],
        bigram_before=model.bigram_before[pairs],
        bigram=model.bigram[pairs],
        bigram_backoff=model.bigram_backoff[pairs],
        trigram_of=renumbered[model.trigram_of[triples]],
        trigram_earlier=model.trigram_earlier[triples],
        trigram=model.trigram[triples],
    )


def read_general_english(least_gain: float) -> GeneralEnglish:
    """The bundled model without what adds less than `least_gain`; see `pruned`."""
    return pruned(read_trie(Path(get_model_path("en-us/en-us.lm.bin"))), least_gain)


@cache
def dictionary() -> Mapping[str, tuple[str, ...]]:
    """Pronunciations of some 125,000 words in ARPAbet phones without stress, the usual one first."""
    found: dict[str, list[str]] = {}
    for line in Path(get_model_path("en-us/cmudict-en-us.dict")).read_text().splitlines():
        entry, _, phones = line.partition(" ")
        word = entry.partition("(")[0]
        if word:
            found.setdefault(word, []).append(phones.strip())
    return {word: tuple(phones) for word, phones in found.items()}
