"""When the caller starts and stops speaking, from the probability that each window of audio holds speech."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

WINDOW_MS: Final = 32
# Where the line's noise hides the quiet, the detector alone decides, and is given longer.
ALONE_MS: Final = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Between the two probabilities nothing changes, so that a value wavering around one does not flicker.

    `quiet_ms`: how much quiet by loudness ends speech of which the detector is no longer sure; it is behind its time at an end.
    """

    start_probability: float = 0.6
    stop_probability: float = 0.35
    start_ms: int = 64
    stop_ms: int = 320
    quiet_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted:
    """`at_ms` is where the speech began, `noticed_ms` the end of the window that made it certain."""

    at_ms: int
    noticed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped:
    """`at_ms` is the end of the last speech, `noticed_ms` the end of the window that made the pause long enough."""

    at_ms: int
    noticed_ms: int


SpeechChange: TypeAlias = SpeechStarted | SpeechStopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """`turning_ms` is where the change that is being watched would have taken place; `evidence_ms` how much speaks for it."""

    speaking: bool = False
    turning_ms: int | None = None
    evidence_ms: int = 0


SILENT: Final = Activity()
Quiet: TypeAlias = Callable[[int], int]
"""For how many milliseconds it has been quiet at the end of a window, by loudness. Asked at the edges of speech only."""


def _never_quiet(_end_ms: int) -> int:
    return 0


def step(
    activity: Activity, thresholds: Thresholds, end_ms: int, probability: float, quiet: Quiet = _never_quiet
) -> tuple[Activity, SpeechChange | None]:
    """Take one window of 32 ms into account. Windows come in order."""
    if activity.speaking:
        if thresholds.quiet_ms is not None and probability < thresholds.start_probability:
            quiet_ms = quiet(end_ms)
            if quiet_ms >= thresholds.quiet_ms:
                return SILENT, SpeechStopped(at_ms=end_ms - quiet_ms, noticed_ms=end_ms)
        return _while_speaking(activity, thresholds, end_ms, probability)
    return _while_silent(activity, thresholds, end_ms, probability)


def _while_silent(activity: Activity, thresholds: Thresholds, end_ms: int, probability: float) -> tuple[Activity, SpeechChange | None]:
    if probability < thresholds.stop_probability:
        return SILENT, None
    if probability < thresholds.start_probability:
        return activity, None
    began_ms = end_ms - WINDOW_MS if activity.turning_ms is None else activity.turning_ms
    evidence_ms = activity.evidence_ms + WINDOW_MS
    if evidence_ms < thresholds.start_ms:
        return Activity(turning_ms=began_ms, evidence_ms=evidence_ms), None
    return Activity(speaking=True), SpeechStarted(at_ms=began_ms, noticed_ms=end_ms)


def _while_speaking(activity: Activity, thresholds: Thresholds, end_ms: int, probability: float) -> tuple[Activity, SpeechChange | None]:
    if probability >= thresholds.start_probability:
        return Activity(speaking=True), None
    if activity.turning_ms is None and probability >= thresholds.stop_probability:
        return activity, None
    # Once the pause has begun, a window of doubt lengthens it: breath and line noise must not keep a turn open.
    ended_ms = end_ms - WINDOW_MS if activity.turning_ms is None else activity.turning_ms
    evidence_ms = activity.evidence_ms + WINDOW_MS
    if evidence_ms < thresholds.stop_ms:
        return Activity(speaking=True, turning_ms=ended_ms, evidence_ms=evidence_ms), None
    return SILENT, SpeechStopped(at_ms=ended_ms, noticed_ms=end_ms)


def steps(
    activity: Activity, thresholds: Thresholds, windows: Iterable[tuple[int, float]], quiet: Quiet = _never_quiet
) -> tuple[Activity, list[SpeechChange]]:
    """Take several windows into account."""
    changes: list[SpeechChange] = []
    for end_ms, probability in windows:
        activity, change = step(activity, thresholds, end_ms, probability, quiet)
        if change is not None:
            changes.append(change)
    return activity, changes
