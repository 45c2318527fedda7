"""Speech starts and stops where the probabilities say, and does not flicker."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from realtime.audio import encode, saturated, silence
from realtime.hearing.contours import Contour
from realtime.hearing.vad import SILENT, WINDOW_MS, SpeechChange, SpeechStarted, SpeechStopped, Thresholds, steps

TONE = encode(saturated(6000 * np.sin(np.arange(1600) * 2 * np.pi * 300 / 8000)))
THRESHOLDS = Thresholds(start_probability=0.6, stop_probability=0.35, start_ms=64, stop_ms=320)


def changes(*probabilities: float) -> list[SpeechChange]:
    windows = [((i + 1) * WINDOW_MS, probability) for i, probability in enumerate(probabilities)]
    return steps(SILENT, THRESHOLDS, windows)[1]


def quick(*probabilities: float, quiet_from_ms: int | None) -> list[SpeechChange]:
    """With 80 ms of quiet, or 192 ms by the detector alone."""
    windows = [((i + 1) * WINDOW_MS, probability) for i, probability in enumerate(probabilities)]
    thresholds = Thresholds(start_ms=64, stop_ms=176, quiet_ms=80)
    return steps(SILENT, thresholds, windows, lambda end_ms: 0 if quiet_from_ms is None else max(0, end_ms - quiet_from_ms))[1]


class TestContour:
    def test_knows_for_how_long_it_has_been_quiet(self) -> None:
        contour = Contour()
        contour.feed(2000, silence(2000))
        contour.feed(2200, TONE)
        assert contour.quiet_ms(2200) == 0
        contour.feed(2320, silence(120))
        assert contour.quiet_ms(2320) == 120
        contour.feed(4000, silence(1680))
        assert contour.quiet_ms(4000) == 300


class TestSpeech:
    def test_starts_after_two_windows_and_is_dated_back_to_the_first(self) -> None:
        assert changes(0.1, 0.9, 0.9) == [SpeechStarted(at_ms=32, noticed_ms=96)]

    def test_does_not_start_with_one_window(self) -> None:
        assert changes(0.1, 0.9, 0.1, 0.9, 0.1) == []

    def test_starts_although_a_window_in_between_is_in_doubt(self) -> None:
        assert changes(0.9, 0.5, 0.9) == [SpeechStarted(at_ms=0, noticed_ms=96)]

    def test_stops_after_a_pause_and_is_dated_back_to_its_beginning(self) -> None:
        assert changes(0.9, 0.9, *[0.1] * 10)[1:] == [SpeechStopped(at_ms=64, noticed_ms=384)]

    def test_goes_on_over_a_shorter_pause(self) -> None:
        assert changes(0.9, 0.9, *[0.1] * 9, 0.9, *[0.1] * 9) == [SpeechStarted(at_ms=0, noticed_ms=64)]

    def test_is_not_kept_alive_by_doubt_once_the_pause_began(self) -> None:
        assert changes(0.9, 0.9, 0.1, *[0.5] * 9)[1:] == [SpeechStopped(at_ms=64, noticed_ms=384)]

    def test_does_not_stop_in_doubt_alone(self) -> None:
        assert len(changes(0.9, 0.9, *[0.5] * 30)) == 1

    def test_stops_as_soon_as_it_is_quiet_and_the_detector_no_longer_sure(self) -> None:
        found = quick(0.9, 0.9, 0.9, 0.5, 0.5, quiet_from_ms=60)
        assert found[1:] == [SpeechStopped(at_ms=60, noticed_ms=160)]

    def test_does_not_stop_in_a_quiet_of_which_the_detector_is_sure(self) -> None:
        assert len(quick(*[0.9] * 20, quiet_from_ms=60)) == 1

    def test_stops_later_by_the_detector_alone_where_noise_hides_the_quiet(self) -> None:
        found = quick(0.9, 0.9, *[0.1] * 10, quiet_from_ms=None)
        assert found[1:] == [SpeechStopped(at_ms=64, noticed_ms=64 + 192)]

    @given(st.lists(st.floats(0, 1)))
    def test_starts_and_stops_in_turn_and_in_the_order_of_time(self, probabilities: list[float]) -> None:
        found = changes(*probabilities)
        assert [type(change) for change in found] == [SpeechStarted, SpeechStopped] * (len(found) // 2) + [SpeechStarted] * (len(found) % 2)
        times = [time for change in found for time in (change.at_ms, change.noticed_ms)]
        assert times == sorted(times)
