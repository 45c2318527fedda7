"""A circuit breaker, as values: an engine that fails is left alone for a while, then one call tries it for all the others."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """How many failures in a row open a circuit, and how long it stays open: twice as long each time a trial fails, up to a bound."""

    failures: int = 3
    open_seconds: float = 5.0
    longest_open_seconds: float = 60.0
    trial_seconds: float = 10.0


CAUTION = Caution()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Closed: `open_until` is None. Open: nobody goes until then. Half-open, after it: one goes, and the others wait for how it went.

    `trial_until`: a trial is under way, and is given up as lost at that time. Times are the loop's, in seconds.
    """

    failures: int = 0
    open_until: float | None = None
    opened: int = 0
    trial_until: float | None = None


CLOSED = Breaker()


def lets(breaker: Breaker, now: float) -> bool:
    """Whether one more may go."""
    if breaker.open_until is None:
        return True
    return now >= breaker.open_until and (breaker.trial_until is None or now >= breaker.trial_until)


def going(breaker: Breaker, now: float, caution: Caution = CAUTION) -> Breaker:
    """One goes: where the circuit is open, it is the trial."""
    return breaker if breaker.open_until is None else replace(breaker, trial_until=now + caution.trial_seconds)


def worked(_breaker: Breaker) -> Breaker:
    """It did its work: the past is forgotten."""
    return CLOSED


def unknown(breaker: Breaker) -> Breaker:
    """Who went has left before it was known how it went."""
    return replace(breaker, trial_until=None)


def failed(breaker: Breaker, now: float, caution: Caution = CAUTION, *, certain: bool = False) -> Breaker:
    """It failed once more; `certain`: in a way that leaves no doubt, so that no second one needs to try (it hung)."""
    if breaker.open_until is not None and breaker.trial_until is None and now < breaker.open_until:
        # Who had gone before it opened comes back with the same news.
        return breaker
    failures = caution.failures if certain else breaker.failures + 1
    if breaker.open_until is None and failures < caution.failures:
        return replace(breaker, failures=failures)
    open_for = min(caution.open_seconds * 2**breaker.opened, caution.longest_open_seconds)
    return Breaker(failures=failures, open_until=now + open_for, opened=breaker.opened + 1)
