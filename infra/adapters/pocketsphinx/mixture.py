"""A language model for one business: its own phrases laid over general English, as one back-off trigram model.

A caller says more than a menu holds, and a recogniser that knows the menu only hears the menu in everything. So the model
keeps the bundled general English, restricted to its most frequent words and those of the business, and moves it towards the
business in two ways: words that the business uses are tilted up wherever they occur, and n-grams of its phrases are counted
with the general probability as their prior.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from infra.adapters.pocketsphinx.bundled import Floats, GeneralEnglish, Ints

START: Final = "<s>"
END: Final = "</s>"
_UNSEEN: Final = 1e-7
_SMALLEST: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How much of which: found by measuring word errors on phrases, paraphrases and sentences of neither."""

    general_words: int = 8000
    least_gain: float = 2e-7
    menu_share: float = 0.5
    tilt: float = 0.4
    bigram_prior: float = 8.0
    trigram_prior: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Probabilities and back-off weights (not logarithms) with rows by word number; pairs are sorted by history."""

    words: tuple[str, ...]
    unigram: Floats
    unigram_backoff: Floats
    pair_history: Ints
    pair_word: Ints
    pair: Floats
    pair_backoff: Floats
    triple_history: Ints
    triple_word: Ints
    triple: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """N-grams of the phrases as sorted keys with their counts."""

    words: Floats
    pairs: dict[tuple[int, int], int]
    triples: dict[tuple[int, int, int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """N-grams of one order: their histories' numbers, general probabilities and counts in the phrases."""

    history: Ints
    histories: int
    prior: Floats
    own: Floats


def _vocabulary(general: GeneralEnglish, phrases: Sequence[Sequence[str]], pronounced: frozenset[str], size: int) -> list[str]:
    known = [word for word in (general.words[i] for i in np.argsort(-general.unigram)) if word in pronounced]
    own = {word for phrase in phrases for word in phrase}
    return [START, END, *sorted(own.union(known[:size]) - {START, END})]


def _count(phrases: Sequence[Sequence[str]], number: dict[str, int]) -> _Counts:
    words = np.zeros(len(number))
    pairs: Counter[tuple[int, int]] = Counter()
    triples: Counter[tuple[int, int, int]] = Counter()
    for phrase in phrases:
        numbers = [number[word] for word in (START, *phrase, END)]
        np.add.at(words, numbers[1:], 1)
        pairs.update(pairwise(numbers))
        triples.update(zip(numbers, numbers[1:], numbers[2:], strict=False))
    return _Counts(words=words, pairs=dict(pairs), triples=dict(triples))


def _union(keys: Ints, priors: Floats, own: dict[int, int]) -> tuple[Ints, Floats, Floats]:
    """Sorted keys of both, the prior of each (NaN where only the business has it), and the business's count."""
    joined = np.union1d(keys, np.fromiter(own, np.int64, len(own)))
    prior = np.full(len(joined), np.nan)
    prior[np.searchsorted(joined, keys)] = priors
    count = np.zeros(len(joined))
    for key, times in own.items():
        count[np.searchsorted(joined, key)] = times
    return joined, prior, count


def _backoff(history: Ints, size: int, explicit: Floats, lower: Floats) -> Floats:
    """The weight that makes each history's probabilities sum to one."""
    left = np.maximum(1 - np.bincount(history, explicit, size), _SMALLEST)
    return np.asarray(left / np.maximum(1 - np.bincount(history, lower, size), _SMALLEST))


def mix(general: GeneralEnglish, phrases: Sequence[Sequence[str]], pronounced: frozenset[str], recipe: Recipe) -> Mixture:
    """Build the model. Every word of `phrases` must be in `pronounced`, the words that the decoder can say."""
    words = _vocabulary(general, phrases, pronounced, recipe.general_words)
    size = len(words)
    number = {word: i for i, word in enumerate(words)}
    counts = _count(phrases, number)
    # The number that a word of the general model has here, or -1.
    renumbered = np.fromiter((number.get(word, -1) for word in general.words), np.int64, len(general.words))
    shared = np.flatnonzero(renumbered >= 0)

    plain = np.full(size, _UNSEEN)
    plain[renumbered[shared]] = np.exp(general.unigram[shared])
    plain[number[START]] = 0
    plain /= plain.sum()
    unigram = (1 - recipe.menu_share) * plain + recipe.menu_share * counts.words / max(counts.words.sum(), 1)
    tilted = np.ones(size)
    tilted[1:] = (unigram[1:] / plain[1:]) ** recipe.tilt
    plain_backoff = np.ones(size)
    plain_backoff[renumbered[shared]] = np.exp(general.unigram_backoff[shared])

    rows = np.flatnonzero((renumbered[general.bigram_word] >= 0) & (renumbered[general.bigram_before] >= 0))
    keys = renumbered[general.bigram_before[rows]] * size + renumbered[general.bigram_word[rows]]
    order = np.argsort(keys)
    rows, keys = rows[order], keys[order]
    pairs, prior, own = _union(keys, np.exp(general.bigram[rows]), {h * size + w: n for (h, w), n in counts.pairs.items()})
    history, word = np.divmod(pairs, size)
    prior = np.where(np.isnan(prior), plain_backoff[history] * plain[word], prior)
    pair_rows = _Rows(history=history, histories=size, prior=prior, own=own)
    pair = _adapted(pair_rows, tilted[word], plain[word], unigram[word], recipe.tilt, recipe.bigram_prior)
    pair_plain_backoff = np.ones(len(pairs))
    pair_plain_backoff[np.searchsorted(pairs, keys)] = np.exp(general.bigram_backoff[rows])

    triples = _triples(general, renumbered, pairs, size)
    at = {(h, w): int(np.searchsorted(pairs, h * size + w)) for h, w in counts.pairs}
    own_triples = {at[u, v] * size + w: n for (u, v, w), n in counts.triples.items()}
    keys3, prior3, own3 = _union(triples[0], triples[1], own_triples)
    history3, word3 = np.divmod(keys3, size)
    lower = np.searchsorted(pairs, word[history3] * size + word3)
    prior3 = np.where(np.isnan(prior3), pair_plain_backoff[history3] * prior[lower], prior3)
    triple_rows = _Rows(history=history3, histories=len(pairs), prior=prior3, own=own3)
    triple = _adapted(triple_rows, tilted[word3], prior[lower], pair[lower], recipe.tilt, recipe.trigram_prior)
    return Mixture(
        words=tuple(words),
        unigram=unigram,
        unigram_backoff=_backoff(history, size, pair, unigram[word]),
        pair_history=history,
        pair_word=word,
        pair=pair,
        pair_backoff=_backoff(history3, len(pairs), triple, pair[lower]),
        triple_history=history3,
        triple_word=word3,
        triple=triple,
    )


def _triples(general: GeneralEnglish, renumbered: Ints, pairs: Ints, size: int) -> tuple[Ints, Floats]:
    """The general trigrams whose words and history are in the model: keys by history pair and word, probabilities."""
    word = renumbered[general.bigram_word[general.trigram_of]]
    before = renumbered[general.bigram_before[general.trigram_of]]
    earlier = renumbered[general.trigram_earlier]
    rows = np.flatnonzero((word >= 0) & (before >= 0) & (earlier >= 0))
    histories = earlier[rows] * size + before[rows]
    found = np.minimum(np.searchsorted(pairs, histories), len(pairs) - 1)
    there = pairs[found] == histories
    keys = found[there] * size + word[rows][there]
    order = np.argsort(keys)
    return keys[order], np.exp(general.trigram[rows][there])[order]


def _adapted(rows: _Rows, tilt: Floats, plain: Floats, lower: Floats, exponent: float, weight: float) -> Floats:
    """Each history's general probabilities tilted and normalised, as prior of `weight` observations of the counts.

    `plain` and `lower` are the lower order's probabilities of the same words before and after.
    """
    history, histories = rows.history, rows.histories
    tilted = rows.prior * tilt
    rest = np.maximum(1 - np.bincount(history, rows.prior, histories), _SMALLEST)
    shift = np.maximum(1 - np.bincount(history, lower, histories), _SMALLEST)
    shift /= np.maximum(1 - np.bincount(history, plain, histories), _SMALLEST)
    total = np.bincount(history, tilted, histories) + rest * np.maximum(shift, _SMALLEST) ** exponent
    observed = np.bincount(history, rows.own, histories)[history]
    return np.asarray((rows.own + weight * tilted / total[history]) / (observed + weight))


def write_arpa(model: Mixture, path: Path) -> None:
    """Write the model in the ARPA format, the one that every recogniser reads."""

    def logs(values: Floats) -> Iterable[float]:
        return (float(log) for log in np.log10(np.maximum(values, 1e-30)))

    names = model.words
    with path.open("w") as out:
        sizes = enumerate((len(names), len(model.pair), len(model.triple)), start=1)
        out.write("\n\\data\\\n" + "".join(f"ngram {order}={size}\n" for order, size in sizes) + "\n\\1-grams:\n")
        rows = zip(names, logs(model.unigram), logs(model.unigram_backoff), strict=True)
        out.writelines(f"{-99.0 if name == START else log:.4f} {name} {backoff:.4f}\n" for name, log, backoff in rows)
        out.write("\n\\2-grams:\n")
        before, after = model.pair_history.tolist(), model.pair_word.tolist()
        pairs = zip(before, after, logs(model.pair), logs(model.pair_backoff), strict=True)
        out.writelines(f"{log:.4f} {names[h]} {names[w]} {backoff:.4f}\n" for h, w, log, backoff in pairs)
        out.write("\n\\3-grams:\n")
        triples = zip(model.triple_history.tolist(), model.triple_word.tolist(), logs(model.triple), strict=True)
        out.writelines(f"{log:.4f} {names[before[h]]} {names[after[h]]} {names[w]}\n" for h, w, log in triples)
        out.write("\n\\end\\\n")
