"""The language model of a business: read, mixed and spelt right, and ears that open only for what is loud enough."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pocketsphinx import Config, LogMath, NGramModel, get_model_path

from infra.adapters.pocketsphinx.bundled import GeneralEnglish, UnknownModelFormat, dictionary, pruned, read_trie
from infra.adapters.pocketsphinx.hearing import ENDED_BY_PAUSE, ENDED_BY_REQUEST, Heard, Hearing, new_decoder
from infra.adapters.pocketsphinx.mixture import Mixture, Recipe, mix
from infra.adapters.pocketsphinx.preparing import PreparingFailed, prepare
from infra.adapters.pocketsphinx.spelling import number_in_words, pronounced, spoken
from infra.settings import Settings
from realtime.audio import decode, encode, saturated, silence
from tests.contracts.spoken import VOCABULARY, said

BUNDLED = Path(get_model_path("en-us/en-us.lm.bin"))
PHRASES = [["book", "an", "appointment"], ["whitening", "please"], ["invisalign"]]


@pytest.fixture(scope="module")
def english() -> GeneralEnglish:
    return read_trie(BUNDLED)


@pytest.fixture(scope="module")
def mixture(english: GeneralEnglish) -> Mixture:
    small = Recipe(general_words=300)
    return mix(pruned(english, small.least_gain), PHRASES, frozenset(dictionary()) | {"invisalign"}, small)


class TestBundledModel:
    def test_is_read_as_the_library_reads_it(self, english: GeneralEnglish) -> None:
        logarithms = LogMath()
        library = NGramModel(Config(lm=None, loglevel="FATAL"), logarithms, str(BUNDLED))

        def probability(*words: str) -> float:
            return float(logarithms.log_to_ln(library.prob(list(words))))

        draws = np.random.default_rng(5)
        for row in draws.integers(0, len(english.trigram), 200):
            pair = english.trigram_of[row]
            word, before = english.words[english.bigram_word[pair]], english.words[english.bigram_before[pair]]
            earlier = english.words[english.trigram_earlier[row]]
            assert english.trigram[row] == pytest.approx(probability(word, before, earlier), abs=1e-3)
            assert english.bigram[pair] == pytest.approx(probability(word, before), abs=1e-3)

    def test_is_refused_when_it_is_another_file(self, tmp_path: Path) -> None:
        other = tmp_path / "other.lm"
        other.write_bytes(b"\\data\\\nngram 1=2\n")
        with pytest.raises(UnknownModelFormat):
            read_trie(other)

    def test_loses_only_what_says_little_when_pruned(self, english: GeneralEnglish) -> None:
        kept = pruned(english, 2e-7)
        assert len(kept.trigram) < len(english.trigram) / 3
        assert set(kept.trigram_of.tolist()) <= set(range(len(kept.bigram)))
        # The order of rows is that of the whole model: by predicted word, then by the word before.
        keys = kept.bigram_word * len(kept.words) + kept.bigram_before
        assert np.all(np.diff(keys) > 0)


class TestMixture:
    def test_gives_each_history_a_whole(self, mixture: Mixture) -> None:
        assert mixture.unigram.sum() == pytest.approx(1)
        after = np.bincount(mixture.pair_history, mixture.pair, len(mixture.words))
        beyond = mixture.unigram_backoff * (1 - np.bincount(mixture.pair_history, mixture.unigram[mixture.pair_word], len(mixture.words)))
        assert np.allclose((after + beyond)[np.unique(mixture.pair_history)], 1, atol=1e-3)

    def test_expects_the_phrases_of_the_business_more_than_english_does(self, english: GeneralEnglish, mixture: Mixture) -> None:
        number = {word: i for i, word in enumerate(mixture.words)}
        general = dict(zip(english.words, np.exp(english.unigram), strict=True))
        assert mixture.unigram[number["whitening"]] > 100 * general["whitening"]
        row = np.flatnonzero((mixture.pair_history == number["book"]) & (mixture.pair_word == number["an"]))
        assert mixture.pair[row[0]] > 0.1

    def test_knows_words_of_both(self, mixture: Mixture) -> None:
        assert {"invisalign", "appointment", "the", "and"} <= set(mixture.words)


class TestSpelling:
    @pytest.mark.parametrize(
        ("written", "words"),
        [
            ("Dr. Lind's X-ray", "doctor lind's x ray"),
            ("at 9:30", "at nine thirty"),
            ("at 10:00 or 9:05", "at ten o'clock or nine oh five"),
            ("£1,250 & more", "pounds one two hundred fifty and more"),
            ("What’s up?", "what's up"),
            ("", ""),
        ],
    )
    def test_says_what_is_written(self, written: str, words: str) -> None:
        assert spoken(written) == words.split()

    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (0, "zero"),
            (21, "twenty one"),
            (100, "one hundred"),
            (1999, "one thousand nine hundred ninety nine"),
            (10**7, "one" + " zero" * 7),
        ],
    )
    def test_says_numbers(self, number: int, words: str) -> None:
        assert number_in_words(number) == words.split()

    def test_takes_the_dictionary_then_the_parts_of_a_word_then_its_letters(self) -> None:
        known = dictionary()
        assert pronounced("dentist", known) == known["dentist"]
        assert pronounced("toothache", known) == ("T UW TH EY K",)
        assert pronounced("okafor", known) == ("OW K AH F AO R",)
        assert pronounced("aybiza", known) == ("EY B IH Z AH",)
        assert pronounced("'", known) == ()


class TestHearing:
    @pytest.fixture
    async def heard(self, settings: Settings) -> tuple[Hearing, list[Heard]]:
        prepared = await prepare(settings.cache_dir / "pocketsphinx", VOCABULARY)
        told: list[Heard] = []
        return Hearing(new_decoder(str(prepared.model), str(prepared.dictionary)), stream=1, pause_ms=400, tell=told.append), told

    async def test_ends_a_stretch_after_a_pause_and_dates_the_next_after_it(self, heard: tuple[Hearing, list[Heard]]) -> None:
        hearing, told = heard
        first = await said("what are your opening hours", after_ms=600)
        hearing.feed(first + await said("please stop recording", after_ms=600))
        finals = [one for one in told if one.is_final]
        assert [final.ended for final in finals] == [ENDED_BY_PAUSE, ENDED_BY_PAUSE]
        assert words(finals) == ["what are your opening hours", "please stop recording"]
        assert finals[1].words[0].start_ms > len(first) // 8

    async def test_hears_nothing_in_silence_and_steady_noise(self, heard: tuple[Hearing, list[Heard]]) -> None:
        hearing, told = heard
        noise = saturated(np.random.default_rng(1).normal(0, 40, 24_000))
        hearing.feed(silence(2000) + encode(noise) + silence(2000))
        hearing.finalize()
        assert [(one.words, one.ended) for one in told if one.is_final] == [((), ENDED_BY_REQUEST)]

    async def test_hears_through_noise(self, heard: tuple[Hearing, list[Heard]]) -> None:
        hearing, told = heard
        from_line = np.random.default_rng(1).normal(0, 60, 400_000)
        clean = await said("please stop recording", before_ms=2000, after_ms=800)
        noisy = mixed(clean, from_line)
        hearing.feed(noisy)
        hearing.finalize()
        assert "stop recording" in " ".join(words([one for one in told if one.is_final]))

    async def test_does_not_depend_on_how_the_audio_is_cut(self, heard: tuple[Hearing, list[Heard]]) -> None:
        hearing, told = heard
        audio = await said("how much is a cleaning", after_ms=600)
        texts = []
        for piece in (160, 1000, len(audio)):
            told.clear()
            for at in range(0, len(audio), piece):
                hearing.feed(audio[at : at + piece])
            hearing.finalize()
            texts.append(words([one for one in told if one.is_final and one.words]))
        assert texts[0] == texts[1] == texts[2] != []


class TestPreparing:
    async def test_says_why_a_model_could_not_be_built(self, tmp_path: Path) -> None:
        no_folder = tmp_path / "file"
        no_folder.write_text("in the way")
        with pytest.raises(PreparingFailed, match="Error"):
            await prepare(no_folder, ["dentist"])


def words(finals: Sequence[Heard]) -> list[str]:
    return [" ".join(word.text for word in final.words) for final in finals]


def mixed(mulaw: bytes, noise: NDArray[np.float64]) -> bytes:
    samples = decode(mulaw)
    return encode(saturated(samples + noise[: len(samples)]))
