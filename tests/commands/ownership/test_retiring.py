"""Streams that are over leave an owner's memory once the journal has them; whoever asks for one later has it loaded."""

from dataclasses import replace

import pytest

from commands.flags import FLAGS
from commands.ownership.retiring import KEPT, retire, wants_journal
from commands.ownership.streams import Streams
from tests.commands.ownership.desk import OFF, ON, PLACE, Desk, command_id, stream
from tests.paper_log import PaperLog

MANY = 4 * KEPT
# A flag that was turned off is over; what lives is on.
DECIDERS = {"flags": replace(FLAGS, over=lambda flag: flag is not None and not flag.enabled)}


@pytest.fixture
def desk() -> Desk:
    desk = Desk(PaperLog(PLACE), "here", DECIDERS)
    desk.claim()
    return desk


def ended(desk: Desk, count: int = MANY) -> None:
    for number in range(count):
        desk.ask(f"off{number}", OFF, stream(f"ended{number}"))
        desk.work()


def retired(streams: Streams) -> int:
    """As often as it may take for those that were used once."""
    before = len(streams)
    for _ in range(4):
        retire(streams)
    return before - len(streams)


class TestRetire:
    def test_leaves_the_last_few_of_those_that_the_journal_has(self, desk: Desk) -> None:
        ended(desk)
        streams = desk.owner.streams
        streams.journal_reached(desk.owner.next_offset)
        assert retired(streams) >= MANY - 2 * KEPT
        assert (len(streams), len(streams.over), streams.remembered, streams.room.streams) == (len(streams.over),) * 4
        assert not wants_journal(streams)

    def test_leaves_what_is_not_over(self, desk: Desk) -> None:
        desk.ask("on", ON, stream("lives"))
        desk.work()
        ended(desk)
        streams = desk.owner.streams
        streams.journal_reached(desk.owner.next_offset)
        assert retired(streams) > 0
        assert streams.get(stream("lives").key) is not None

    def test_leaves_what_the_journal_has_not_seen(self, desk: Desk) -> None:
        ended(desk)
        streams = desk.owner.streams
        assert (retired(streams), wants_journal(streams)) == (0, True)

    def test_makes_what_it_put_out_a_stream_that_has_to_be_loaded(self, desk: Desk) -> None:
        ended(desk)
        streams = desk.owner.streams
        streams.journal_reached(desk.owner.next_offset)
        retired(streams)
        assert streams.get(stream("ended0").key) is None
        assert not streams.ready(stream("ended0").key, command_id("again"))
        # What was never here is not elsewhere either.
        assert streams.ready(stream("another").key, command_id("first"))

    def test_keeps_no_trace_of_those_that_come_and_go(self, desk: Desk) -> None:
        streams = desk.owner.streams
        for turn in range(4):
            for number in range(MANY):
                desk.owner.streams.minted(stream(f"{turn}-{number}").key)
                desk.ask(f"{turn}-{number}", OFF, stream(f"{turn}-{number}"))
                desk.work()
            streams.journal_reached(desk.owner.next_offset)
            retired(streams)
        assert len(streams._ring) <= 4 * KEPT + 64  # noqa: SLF001 - what nobody sees is what would grow
