"""Whatever befalls processes, brokers and clients: what was acknowledged is on the log once, and what was refused was refusable."""

import pytest

from tests.simulator.controls import CONTROLS
from tests.simulator.play import play
from tests.simulator.running import first_violation, run, silence, table, told

STEPS = 100
SEEDS = 200


# Seeds that showed a fault of the product once.
REGRESSIONS = (
    553,  # A stopping process told its watchers of what followed a gap.
    2138,  # A partition that was looked up on the log while its process was stopped never stopped.
)


def test_nothing_is_lost_doubled_or_made_up() -> None:
    report = run(range(SEEDS), STEPS)
    assert not report.violations, told(report)
    # It is the faults that make it worth anything, and where they strike.
    met = {fault for fault, _ in report.covered}
    assert met >= {"crash", "pause", "clean stop", "append lost", "acknowledgement lost", "append lands after it was given up", "stale end"}
    awaits = ("Appending.claim > append", "Appending.commit > append", "Appending.read > read", "Lines.ask > ask")
    missed = [(fault, site) for fault in ("crash", "pause") for site in awaits if not report.covered[fault, site]]
    assert not missed, table(report.covered)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_went_wrong_once_does_not_again(seed: int) -> None:
    with silence():
        report = play(seed, STEPS)
    assert not report.violations, told(report)


def test_a_seed_tells_the_same_story_again() -> None:
    with silence():
        first, second = (play(7, STEPS, keep_lines=True) for _ in range(2))
    assert first.lines == second.lines


class TestChecker:
    """A checker that cannot fail proves nothing: each safety detail is missed within a few seeds."""

    @pytest.mark.parametrize("without", CONTROLS)
    def test_misses(self, without: str) -> None:
        report = first_violation(range(200), STEPS, without)
        assert report is not None, f"nothing was found without {without}"
        history = told(report)
        assert "lands at aybiza." in history
        assert len(history.splitlines()) < 80
