"""When an engine is left alone, and who tries it again."""

from hypothesis import given
from hypothesis import strategies as st

from realtime.engines.breakers import CAUTION, CLOSED, Breaker, failed, going, lets, unknown, worked


def opened(at: float = 0.0) -> Breaker:
    breaker = CLOSED
    for _ in range(CAUTION.failures):
        breaker = failed(breaker, at)
    return breaker


class TestBreaker:
    def test_lets_everybody_go_until_it_has_failed_often_enough(self) -> None:
        once = failed(CLOSED, 1.0)
        assert lets(once, 1.0)
        assert not lets(opened(), 0.0)

    def test_opens_at_once_for_what_hung(self) -> None:
        assert not lets(failed(CLOSED, 1.0, certain=True), 1.0)

    def test_forgets_failures_once_it_worked(self) -> None:
        breaker = worked(failed(failed(CLOSED, 1.0), 1.0))
        assert lets(failed(failed(breaker, 2.0), 2.0), 2.0)

    def test_lets_one_try_after_a_while_and_the_others_wait_for_it(self) -> None:
        later = CAUTION.open_seconds
        trying = going(opened(), later)
        assert lets(opened(), later)
        assert not lets(trying, later)
        assert lets(worked(trying), later)
        assert lets(unknown(trying), later)
        assert lets(trying, later + CAUTION.trial_seconds), "a trial that never comes back holds nobody up for ever"

    def test_stays_open_twice_as_long_after_a_trial_that_failed(self) -> None:
        later = CAUTION.open_seconds
        again = failed(going(opened(), later), later)
        assert not lets(again, later + 1.5 * CAUTION.open_seconds)
        assert lets(again, later + 2 * CAUTION.open_seconds)

    def test_is_not_held_open_longer_by_those_who_had_gone_before_it_opened(self) -> None:
        assert failed(opened(), 1.0) == opened()

    @given(st.lists(st.tuples(st.sampled_from(["go", "fail", "hang", "work", "leave"]), st.floats(0, 30)), max_size=40))
    def test_lets_somebody_go_within_its_longest_time_whatever_happens(self, story: list[tuple[str, float]]) -> None:
        breaker, now = CLOSED, 0.0
        for what, later in story:
            now += later
            match what:
                case "go" if lets(breaker, now):
                    breaker = going(breaker, now)
                case "fail" | "hang":
                    breaker = failed(breaker, now, certain=what == "hang")
                case "work":
                    breaker = worked(breaker)
                case "leave":
                    breaker = unknown(breaker)
        assert lets(breaker, now + CAUTION.longest_open_seconds + CAUTION.trial_seconds)
