"""What the facts of a flag make of its row."""

from events.flags import FlagRemoved, FlagSet
from events.streams import StreamId
from projections.flags import FLAGS
from tests.projections.told import AYB, told

STREAM = StreamId(AYB, "flags", "greeting")


class TestFlag:
    def test_stands_as_it_was_set_last(self) -> None:
        row = FLAGS.fold(told(STREAM, FlagSet(enabled=True, variant="long"), FlagSet(enabled=False, variant="short", description="try it")))
        assert row is not None
        assert (row.id, row.enabled, row.variant, row.description, row.version) == ("greeting", False, "short", "try it", 2)

    def test_has_no_row_once_it_is_removed(self) -> None:
        assert FLAGS.fold(told(STREAM, FlagSet(enabled=True, variant="long"), FlagRemoved())) is None
