"""How long this caller is waited for: learnt from their own pauses, within the bounds that the agent's version sets."""

from dataclasses import dataclass, replace

from realtime.machine.briefing import Thresholds

# To cut somebody off is worse than to wait for them: a longer pause teaches faster than a shorter one.
_LENGTHENS = 0.5
_SHORTENS = 0.2
# Their next pause may be longer than their mean.
_MARGIN = 1.5
# What a turn in one breath takes from the mean, and how fast a habit is believed.
_FLUENT_KEEPS = 0.85
_HABIT_WEIGHT = 0.3
_HABIT = 0.5
_AFTERTHOUGHT_KEEPS = 0.8
# Means below are no habit any more.
_LEAST_AFTERTHOUGHT_MS = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Exponential means. `pause_ms`: pauses within turns, 0 while nothing is known; `afterthought_ms`: those behind what looked complete,
    0 when there are none; `hesitance`: the share of turns that had a pause in them.
    """

    pause_ms: float = 0.0
    afterthought_ms: float = 0.0
    hesitance: float = 0.0
    paused: bool = False

    def after_pause(self, pause_ms: int, *, whole: bool) -> "Patience":
        """The caller paused within a turn and went on; `whole`: behind words that looked complete."""
        learnt = replace(self, pause_ms=_mean(self.pause_ms, pause_ms), paused=True)
        return replace(learnt, afterthought_ms=_mean(self.afterthought_ms, pause_ms)) if whole else learnt

    def after_turn(self, thresholds: Thresholds, *, whole: bool) -> "Patience":
        """A turn is over, with words that looked complete or not, and so far the caller has not gone on."""
        kept_ms = self.afterthought_ms * _AFTERTHOUGHT_KEEPS if whole else self.afterthought_ms
        known_ms = self.pause_ms or thresholds.patience_ms / _MARGIN
        return Patience(
            pause_ms=known_ms if self.paused else known_ms * _FLUENT_KEEPS,
            afterthought_ms=kept_ms if kept_ms >= _LEAST_AFTERTHOUGHT_MS else 0.0,
            hesitance=self.hesitance + _HABIT_WEIGHT * (self.paused - self.hesitance),
        )

    def silence_ms(self, thresholds: Thresholds, *, whole: bool, open_end: bool) -> int:
        """How much silence since the last sound ends a turn with such words."""
        most_ms = thresholds.most_patience_ms
        learnt_ms = min(max(round(self.pause_ms * _MARGIN), thresholds.least_patience_ms), most_ms)
        if whole:
            # Whoever hesitates all the time also does it where a sentence could end.
            habit_ms = learnt_ms if self.hesitance > _HABIT else 0
            return max(thresholds.complete_after_ms, min(round(self.afterthought_ms * _MARGIN), most_ms), habit_ms)
        wait_ms = learnt_ms if self.pause_ms else thresholds.patience_ms
        return max(wait_ms, thresholds.open_end_ms) if open_end else wait_ms


def _mean(mean_ms: float, pause_ms: int) -> float:
    if not mean_ms:
        return float(pause_ms)
    return mean_ms + (_LENGTHENS if pause_ms > mean_ms else _SHORTENS) * (pause_ms - mean_ms)
