"""What the facts of an agent make of its row and of its versions."""

import pytest

from events.agents import (
    AgentBranchClosed,
    AgentBranchOpened,
    AgentCreated,
    AgentRenamed,
    AgentVersionPublished,
    AgentVersionRecorded,
)
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

    def test_has_branches_that_are_not_live(self) -> None:
        opened, closed = AgentBranchOpened(branch="try", version_hash=FIRST.version_hash), AgentBranchClosed(branch="try")
        recorded = AgentVersionRecorded(branch="try", version_hash="3" * 64, label="3", configuration="{}")
        history = (CREATED, FIRST, opened, recorded, AgentRenamed(name="Desk"))
        row = AGENTS.fold(told(STREAM, *history))
        assert row is not None
        assert row.live is not None
        assert (row.name, row.live.version, [(each.name, each.version_hash) for each in row.branches]) == ("Desk", 2, [("try", "3" * 64)])
        entries = [entry for fact in told(STREAM, *history) for entry in AGENT_VERSIONS.entries(fact)]
        assert [(entry.branch, entry.label) for entry in entries] == [("main", "1"), ("try", "3")]
        gone = AGENTS.fold(told(STREAM, *history, closed))
        assert gone is not None
        assert gone.branches == ()
