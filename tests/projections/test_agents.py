"""What the facts of an agent make of its row and of its versions."""

import pytest

from events.agents import AgentCreated, AgentVersionPublished
from events.streams import StreamId
from projections.agents import AGENT_VERSIONS, AGENTS
from projections.table import BrokenHistory
from tests.projections.told import AYB, told

STREAM = StreamId(AYB, "agents", "agt_1")
CREATED = AgentCreated(name="Front desk")
FIRST = AgentVersionPublished(version_hash="1" * 64, label="1", configuration='{"voice":"a"}')
SECOND = AgentVersionPublished(version_hash="2" * 64, label="2", configuration='{"voice":"b"}')


class TestAgent:
    def test_answers_with_nothing_before_its_first_version(self) -> None:
        row = AGENTS.fold(told(STREAM, CREATED))
        assert row is not None
        assert (row.live, row.versions) == (None, 0)

    def test_answers_with_the_version_that_was_published_last(self) -> None:
        row = AGENTS.fold(told(STREAM, CREATED, FIRST, SECOND))
        assert row is not None
        assert row.live is not None
        assert (row.live.label, row.live.configuration, row.versions, row.version) == ("2", '{"voice":"b"}', 2, 3)

    def test_has_every_version_it_ever_had(self) -> None:
        entries = [entry for fact in told(STREAM, CREATED, FIRST, SECOND) for entry in AGENT_VERSIONS.entries(fact)]
        assert [(entry.version, entry.label, entry.version_hash[0], entry.actor) for entry in entries] == [
            (2, "1", "1", "test"),
            (3, "2", "2", "test"),
        ]

    def test_cannot_begin_with_a_version(self) -> None:
        with pytest.raises(BrokenHistory):
            AGENTS.fold(told(STREAM, FIRST))
