"""What the facts of an environment make of its row and of its pins."""

import pytest

from events.environments import AgentPinned, AgentUnpinned, EnvironmentClosed, EnvironmentOpened
from events.streams import StreamId
from projections.environments import ENVIRONMENT_PINS, ENVIRONMENTS
from projections.table import BrokenHistory
from tests.projections.told import AYB, told

STREAM = StreamId(AYB, "environments", "staging")
OPENED = EnvironmentOpened(description="Where we try.")
PINNED = AgentPinned(agent_id="agt_1", version_hash="1" * 64, label="1", configuration="{}")


class TestEnvironment:
    def test_has_the_last_pin_of_each_agent(self) -> None:
        again = AgentPinned(agent_id="agt_1", version_hash="2" * 64, label="2", configuration="{}")
        other = AgentPinned(agent_id="agt_2", version_hash="3" * 64, label="3", configuration="{}")
        row = ENVIRONMENTS.fold(told(STREAM, OPENED, PINNED, other, again, AgentUnpinned(agent_id="agt_2")))
        assert row is not None
        assert [(pin.agent_id, pin.label, pin.pinned_by) for pin in row.pins] == [("agt_1", "2", "test")]

    def test_is_gone_when_it_was_closed_and_begins_anew(self) -> None:
        assert ENVIRONMENTS.fold(told(STREAM, OPENED, PINNED, EnvironmentClosed())) is None
        row = ENVIRONMENTS.fold(told(STREAM, OPENED, PINNED, EnvironmentClosed(), OPENED))
        assert row is not None
        assert row.pins == ()

    def test_remembers_every_pin(self) -> None:
        facts = told(STREAM, OPENED, PINNED, AgentUnpinned(agent_id="agt_1"))
        assert [entry.label for fact in facts for entry in ENVIRONMENT_PINS.entries(fact)] == ["1", None]

    def test_cannot_begin_with_a_pin(self) -> None:
        with pytest.raises(BrokenHistory):
            ENVIRONMENTS.fold(told(STREAM, PINNED))
