"""What the facts of a number make of its row."""

from events.numbers import NumberAssigned, NumberReleased, UnassignedNumberCalled
from events.sealing import Sealed
from events.streams import PLATFORM, StreamId
from projections.numbers import NUMBERS
from tests.projections.told import AYB, told

STREAM = StreamId(PLATFORM, "numbers", "n" * 32)
ASSIGNED = NumberAssigned(organisation_id=AYB, agent_id="agt_1", number=Sealed(AYB, b"box"))


class TestNumber:
    def test_is_its_holders_row_though_the_stream_is_the_platforms(self) -> None:
        row = NUMBERS.fold(told(STREAM, ASSIGNED))
        assert row is not None
        assert (row.tenant, row.agent_id, NUMBERS.organisation(row)) == (PLATFORM, "agt_1", AYB)

    def test_has_no_row_while_nobody_holds_it(self) -> None:
        assert NUMBERS.fold(told(STREAM, UnassignedNumberCalled(call_sid="CA1"))) is None
        assert NUMBERS.fold(told(STREAM, ASSIGNED, NumberReleased(organisation_id=AYB))) is None

    def test_may_be_held_by_another_afterwards(self) -> None:
        other = NumberAssigned(organisation_id="AYB-2", agent_id="agt_2", number=Sealed("AYB-2", b"box"))
        row = NUMBERS.fold(told(STREAM, ASSIGNED, NumberReleased(organisation_id=AYB), other))
        assert row is not None
        assert (row.organisation_id, row.version) == ("AYB-2", 3)
