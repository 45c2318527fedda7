"""Two owners and three commands, whatever comes first: no state that can be reached shows anything that must never be."""

import pytest

from commands.ownership.owner import Owner
from tests.simulator.controls import Forgetful, Hasty
from tests.simulator.exhaustive import SCRIPTS, Exploration, Found, Within


@pytest.mark.parametrize("script", range(len(SCRIPTS)))
@pytest.mark.parametrize("within", [Within(claims=1, given_up=1), Within(commands=2, claims=2, given_up=1)])
def test_no_state_is_wrong(script: int, within: Within) -> None:
    exploration = Exploration(SCRIPTS[script], within)
    exploration.run()
    assert exploration.states > 10_000


@pytest.mark.parametrize("owner", [Forgetful, Hasty])
def test_but_without_a_safety_detail_one_is(owner: type[Owner]) -> None:
    found = []
    for script in SCRIPTS:
        try:
            Exploration(script, Within(claims=1, given_up=1), owner).run()
        except Found as wrong:
            found.append(str(wrong))
    assert found, "all states were visited, and nothing was missed"
    # What went wrong, and the way to it.
    assert len(found[0].splitlines()) > 5
