"""Mu-law is exact to the bit, and what is made of it has no seams."""

import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest

from realtime import audio

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)
EVERY_CODE = bytes(range(256))
NEGATIVE_ZERO = 0x7F


def tone(hertz: float, seconds: float, rate: int = audio.RATE_HZ) -> audio.Samples:
    return audio.saturated(12000 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate))


def reference_code(sample: int) -> int:
    """Mu-law as the recommendation puts it: a sign, the segment in which the biased magnitude lies, four bits of it."""
    magnitude = min((~(sample >> 2) + 1 if sample < 0 else sample >> 2), 8159) + 33
    segment = max(magnitude.bit_length() - 6, 0)
    return (
        ((0x00 if sample < 0 else 0x80) | (~((segment << 4) | ((magnitude >> (segment + 1)) & 0x0F)) & 0x7F))
        if segment < 8
        else (0x00 if sample < 0 else 0x80)
    )


class TestMulaw:
    def test_gives_every_sample_the_code_of_the_recommendation(self) -> None:
        assert audio.encode(EVERY_SAMPLE) == bytes(reference_code(int(sample)) for sample in EVERY_SAMPLE)

    def test_comes_back_from_a_round_trip_as_it_was_but_for_the_negative_zero(self) -> None:
        there_and_back = audio.encode(audio.decode(EVERY_CODE))
        changed = [code for code, again in zip(EVERY_CODE, there_and_back, strict=True) if code != again]
        assert changed == [NEGATIVE_ZERO]

    def test_is_as_loud_as_it_was(self) -> None:
        original = tone(440, 1)
        error = audio.decode(audio.encode(original)).astype(float) - original
        assert 10 * np.log10(np.mean(original.astype(float) ** 2) / np.mean(error**2)) > 35

    if sys.version_info < (3, 13):

        def test_is_what_the_standard_library_makes_of_it(self) -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                import audioop  # noqa: PLC0415 - its import warns that it leaves in 3.13
            assert audio.encode(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE.tobytes(), 2)
            assert audio.decode(EVERY_CODE).tobytes() == audioop.ulaw2lin(EVERY_CODE, 2)


class TestLevel:
    def test_of_digital_silence_is_the_floor(self) -> None:
        assert audio.level_dbfs(audio.silence(100)) == -100
        assert audio.level_dbfs(b"") == -100

    def test_of_a_tone_is_its_root_mean_square(self) -> None:
        assert audio.level_dbfs(audio.encode(tone(440, 1))) == pytest.approx(20 * np.log10(12000 / 32768 / np.sqrt(2)), abs=0.1)


class TestUpsampler:
    def test_joins_pieces_of_any_length_without_a_seam(self) -> None:
        samples = tone(700, 0.5)
        whole = audio.Upsampler().feed(samples)
        pieces = audio.Upsampler()
        cuts = [0, 1, 7, 160, 161, 2000, len(samples)]
        joined = np.concatenate([pieces.feed(samples[a:b]) for a, b in pairwise(cuts)])
        assert np.array_equal(joined, whole)

    @pytest.mark.parametrize("hertz", [200, 1000, 2500])
    def test_keeps_a_tone_and_leaves_no_mirror_image(self, hertz: int) -> None:
        doubled = audio.Upsampler().feed(tone(hertz, 1)).astype(float)
        spectrum = np.abs(np.fft.rfft(doubled * np.hanning(len(doubled))))
        image = 8000 - hertz
        assert int(np.argmax(spectrum)) == hertz
        assert 20 * np.log10(spectrum[hertz] / spectrum[image - 20 : image + 20].max()) > 50

    def test_is_undone_by_halving(self) -> None:
        samples = tone(600, 0.25)
        again = audio.halved(audio.Upsampler().feed(samples))
        middle = slice(200, -200)
        delay = 8  # samples: the filter's millisecond
        assert np.abs(again[middle].astype(float) - np.roll(samples, delay)[middle]).max() < 60
