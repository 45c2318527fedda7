"""What an owner has in memory of its partition's streams: enough to decide rightly, and no more than it may have."""

import pytest

from commands.dispatch import CommandIdReused
from commands.flags import SetFlag
from commands.ownership.memory import Bounds, Room
from commands.ownership.owner import Owner
from commands.ownership.remembering import WINDOW, Tags, tag_of
from commands.ownership.streams import CannotOwn, NotUnderstood, Streams
from events.admission import Fence
from events.records import RawRecord
from tests.commands.ownership.desk import CODEC, DECIDERS, OFF, ON, PLACE, Desk, command_id, order, stream
from tests.paper_log import PaperLog

SMALL = Bounds(streams=8, commands=1_000, tail=4)


@pytest.fixture
def log() -> PaperLog:
    return PaperLog(PLACE)


def written(log: PaperLog, *names: str) -> None:
    """Somebody wrote a fact on each of these streams."""
    desk = Desk(log, "writer")
    desk.claim()
    for number, name in enumerate(names):
        desk.ask(f"{name}{number}", SetFlag(enabled=True, variant=str(number)), stream(name))
        desk.work()


def owner_of(log: PaperLog, bounds: Bounds, start: int = 0) -> Owner:
    """An owner who has read everything from `start` on."""
    owner = Owner(PLACE, Streams(DECIDERS, CODEC, Room(bounds)), "here")
    if start:
        owner.begin(start, fence_at(log, start), 0)
    owner.judge(log.read(start, len(log.records)), len(log.records))
    return owner


def ask_of_new(desk: Desk, name: str) -> None:
    """A command on a stream whose name was drawn here."""
    desk.owner.streams.minted(stream(name).key)
    desk.ask(name, ON, stream(name))


def fence_at(log: PaperLog, offset: int) -> Fence:
    header = log.records[offset - 1].header
    assert header is not None
    return Fence(header.term, header.claim_id)


def folded(streams: Streams, log: PaperLog, name: str, upto: int) -> bool:
    """Load a stream from what lies before `upto`; whether that was enough."""
    key = stream(name).key
    loading = streams.blank(key)
    for raw in log.admitted():
        if raw.key == key and raw.offset < upto and raw.header is not None:
            streams.take(loading, raw, raw.header, Fence(raw.header.term, raw.header.claim_id))
    return streams.install(key, loading, upto, "journal")


def version(streams: Streams, name: str) -> int | None:
    known = streams.get(stream(name).key)
    return None if known is None else known.version


def snapped(streams: Streams, log: PaperLog, name: str, through: int, reached: int) -> bool:
    """Load a stream from a snapshot that holds it through an offset, beside a journal that has reached less."""
    key = stream(name).key
    loading = streams.blank(key)
    for raw in log.admitted():
        if raw.key == key and raw.offset <= through and raw.header is not None:
            streams.take(loading, raw, raw.header, Fence(raw.header.term, raw.header.claim_id))
    return streams.install(key, loading, reached, "snapshot")


class TestStream:
    def test_goes_on_from_a_snapshot_that_is_ahead_of_the_journal(self, log: PaperLog) -> None:
        written(log, "one", "one", "one")
        streams = owner_of(log, SMALL, 2).streams
        assert snapped(streams, log, "one", 2, 2)
        assert version(streams, "one") == 3

    def test_that_could_not_be_folded_loses_nothing_of_what_is_known_of_it(self, log: PaperLog) -> None:
        written(log, "one", "one", "one")
        streams = owner_of(log, SMALL, 2).streams
        with pytest.raises(CannotOwn):
            streams.install(stream("one").key, streams.blank(stream("one").key), 2, "journal")
        assert folded(streams, log, "one", 2)
        assert version(streams, "one") == 3

    def test_that_is_not_there_does_not_exist_where_everything_was_read(self, log: PaperLog) -> None:
        written(log, "one")
        streams = owner_of(log, SMALL).streams
        assert version(streams, "one") == 1
        assert streams.ready(stream("two").key, command_id("any"))

    def test_that_is_not_there_must_be_loaded_where_reading_began_later(self, log: PaperLog) -> None:
        written(log, "one", "two", "one")
        streams = owner_of(log, SMALL, start=2).streams
        assert not streams.ready(stream("one").key, command_id("any"))
        assert folded(streams, log, "one", upto=2)
        assert (version(streams, "one"), streams.ready(stream("one").key, command_id("any"))) == (2, True)

    def test_is_not_loaded_from_a_source_that_lacks_what_was_not_kept(self, log: PaperLog) -> None:
        written(log, "one", "two", "one")
        streams = owner_of(log, SMALL, start=3).streams
        assert not folded(streams, log, "one", upto=2)
        assert version(streams, "one") is None

    def test_is_loaded_once_from_a_source_that_overlaps_the_tail(self, log: PaperLog) -> None:
        written(log, "one", "two", "one", "one")
        streams = owner_of(log, SMALL, start=2).streams
        assert folded(streams, log, "one", upto=4)
        assert version(streams, "one") == 3

    def test_whose_name_was_drawn_here_needs_no_history(self, log: PaperLog) -> None:
        written(log, "one", "two")
        streams = owner_of(log, SMALL, start=3).streams
        streams.minted(stream("new").key)
        assert streams.ready(stream("new").key, command_id("any"))
        assert streams.loads == {"minted": 1}

    def test_whose_name_was_drawn_here_keeps_what_somebody_wrote_to_it(self, log: PaperLog) -> None:
        written(log, "one", "two")
        streams = owner_of(log, SMALL, start=2).streams
        streams.minted(stream("two").key)
        assert not streams.ready(stream("two").key, command_id("any"))

    def test_of_a_kind_that_nobody_knows_cannot_be_owned(self, log: PaperLog) -> None:
        written(log, "one", "two")
        streams = owner_of(log, SMALL, start=3).streams
        last = log.records[-1]
        assert last.header is not None
        with pytest.raises(NotUnderstood, match="clouds"):
            streams.fold(last._replace(key=b"t/clouds/one"), last.header, Fence())

    def test_with_a_broken_body_cannot_be_owned_though_it_is_not_loaded(self, log: PaperLog) -> None:
        written(log, "one", "two")
        streams = owner_of(log, SMALL, start=3).streams
        last = log.records[-1]
        assert last.header is not None
        with pytest.raises(CannotOwn):
            streams.fold(last._replace(value=last.value[:12]), last.header, Fence())


class TestBounds:
    def test_of_streams_are_kept_by_forgetting_who_was_not_used(self, log: PaperLog) -> None:
        desk = Desk(log)
        desk.owner.streams = Streams(DECIDERS, CODEC, Room(SMALL))
        desk.claim()
        for number in range(30):
            desk.ask(f"hot{number}", ON if number % 2 else OFF, stream("hot"))
            ask_of_new(desk, f"s{number}")
            desk.work()
            desk.owner.streams.journal_reached(len(log.records))
        assert len(desk.owner.streams) == SMALL.streams
        assert version(desk.owner.streams, "hot") == 30
        assert desk.owner.streams.evicted == 31 - SMALL.streams

    def test_spare_what_the_journal_has_not_seen_as_long_as_they_can(self, log: PaperLog) -> None:
        desk = Desk(log)
        desk.owner.streams = streams = Streams(DECIDERS, CODEC, Room(Bounds(streams=80, commands=1_000, tail=4)))
        desk.claim()
        for number in range(90):
            ask_of_new(desk, f"s{number}")
            desk.work()
        assert (len(streams), streams.horizon) == (90, 0)
        for number in range(90, 200):
            ask_of_new(desk, f"s{number}")
            desk.work()
        assert len(streams) == 90
        assert streams.horizon > 0

    def test_never_forget_a_stream_whose_batch_is_under_way(self, log: PaperLog) -> None:
        desk = Desk(log)
        desk.owner.streams = streams = Streams(DECIDERS, CODEC, Room(Bounds(streams=1, commands=1_000, tail=4)))
        desk.claim()
        desk.ask("one", ON, stream("one"))
        desk.work()
        desk.ask("again", OFF, stream("one"))
        desk.ask("two", ON, stream("two"))
        desk.ask("three", ON, stream("three"))
        group = desk.group()
        log.scribble()
        desk.confirm(log.append(group.records))
        assert desk.committed("again").version == 2
        desk.ask_as("repeat", order("one"), ON, stream("one"))
        if version(streams, "one") is not None:
            desk.work()
            assert desk.committed("repeat").repeated

    def test_of_the_tail_are_kept_by_leaving_the_oldest_to_the_journal(self, log: PaperLog) -> None:
        written(log, *[f"s{number}" for number in range(10)])
        streams = owner_of(log, SMALL, start=2).streams
        assert (streams.tail_records, streams.horizon) == (SMALL.tail, len(log.records) - SMALL.tail)
        assert not folded(streams, log, "s0", upto=streams.horizon - 1)
        assert folded(streams, log, "s0", upto=streams.horizon)

    def test_of_the_tail_leave_out_what_the_journal_has(self, log: PaperLog) -> None:
        written(log, "one", "two", "one")
        streams = owner_of(log, SMALL, start=2).streams
        streams.journal_reached(len(log.records))
        assert (streams.tail_records, streams.horizon) == (0, len(log.records))

    def test_hold_for_remembered_commands(self, log: PaperLog) -> None:
        desk = Desk(log)
        desk.owner.streams = streams = Streams(DECIDERS, CODEC, Room(Bounds(streams=1_000, commands=16, tail=4)))
        desk.claim()
        for number in range(100):
            ask_of_new(desk, f"s{number}")
            desk.work()
            streams.journal_reached(len(log.records))
        assert streams.remembered <= 18
        assert streams.remembered == sum(len(known.answered) for known in streams._by_key.values())  # noqa: SLF001

    def test_leave_as_much_to_do_for_a_commit_however_many_streams_there_are(self, log: PaperLog) -> None:
        streams = Streams(DECIDERS, CODEC, Room(Bounds(streams=10, commands=10, tail=4)))
        written(log, *[f"s{number}" for number in range(300)])
        for raw in log.admitted():
            assert raw.header is not None
            streams.fold(raw, raw.header, Fence())
        streams.journal_reached(len(log.records))
        before = len(streams)
        streams.trim()
        assert before - len(streams) <= 64


def twin_of(known: bytes) -> bytes:
    """Another command id with the same tag."""
    high, low = (int.from_bytes(half, "big") for half in (known[:8], known[8:]))
    product = (high * 0x9E3779B97F4A7C15 ^ low * 0xC2B2AE3D27D4EB4F ^ (high + 1) * 0x9E3779B97F4A7C15) % 2**64
    other = product * pow(0xC2B2AE3D27D4EB4F, -1, 2**64) % 2**64
    twin = (high + 1).to_bytes(8, "big") + other.to_bytes(8, "big")
    assert tag_of(twin) == tag_of(known)
    return twin


class TestRoom:
    def test_is_shared_by_the_partitions_of_a_process(self) -> None:
        room = Room(Bounds(streams=20, commands=1_000, tail=4))
        idle, busy = Desk(PaperLog(PLACE)), Desk(PaperLog(PLACE._replace(partition=1)))
        for desk in (idle, busy):
            desk.owner.streams = Streams(DECIDERS, CODEC, room)
            desk.claim()
        for desk, count in ((idle, 20), (busy, 10)):
            for number in range(count):
                ask_of_new(desk, f"s{number}")
                desk.work()
                desk.owner.streams.journal_reached(len(desk.log.records))
                # As each does now and then.
                for _ in range(2):
                    idle.owner.streams.give_way()
        assert room.streams == len(idle.owner.streams) + len(busy.owner.streams) == 20
        assert len(busy.owner.streams) >= 9
        idle.owner.streams.begin(100)
        assert room.streams == len(busy.owner.streams)
        assert room.commands == busy.owner.streams.remembered


class TestCommandsTaken:
    def busy(self, log: PaperLog, commands: int) -> Desk:
        """An owner whose one stream took so many commands."""
        desk = Desk(log)
        desk.claim()
        for number in range(commands):
            desk.ask(f"c{number}", ON if number % 2 else OFF)
            desk.work()
        return desk

    def test_are_answered_from_memory_as_long_as_the_window_says(self, log: PaperLog) -> None:
        desk = self.busy(log, 2 * WINDOW + 10)
        for back in (1, WINDOW):
            number = 2 * WINDOW + 10 - back
            desk.ask_as(f"again{number}", order(f"c{number}"))
            desk.work()
            assert desk.committed(f"again{number}").position == desk.committed(f"c{number}").position

    def test_are_looked_up_when_they_lie_further_back(self, log: PaperLog) -> None:
        desk = self.busy(log, 2 * WINDOW)
        streams, key = desk.owner.streams, stream().key
        assert streams.in_question(key, command_id("c0"))
        assert not streams.in_question(key, command_id("new"))
        assert not streams.ready(key, command_id("c0"))

    def test_get_their_first_answer_once_that_was_found(self, log: PaperLog) -> None:
        desk = self.busy(log, 2 * WINDOW)
        first = desk.committed("c0")
        streams, key = desk.owner.streams, stream().key
        raw: RawRecord = log.records[first.position.offset]
        assert raw.header is not None
        other = Desk(log, "other")
        other.read(len(log.records))
        lone = Streams(DECIDERS, CODEC)
        lone.fold(raw, raw.header, first.position.fence)
        streams.recalled(key, command_id("c0"), lone.get(key).answered[command_id("c0")])  # type: ignore[union-attr]
        desk.ask_as("again", order("c0"))
        desk.ask_as("another body", order("c0", body="other"))
        desk.work()
        assert desk.committed("again") == first._replace(facts=(), repeated=True)
        assert isinstance(desk.answers["another body"], CommandIdReused)

    def test_are_decided_when_nobody_knows_them(self, log: PaperLog) -> None:
        desk = self.busy(log, 2 * WINDOW)
        streams, key = desk.owner.streams, stream().key
        twin = twin_of(command_id("c0"))
        assert streams.in_question(key, twin)
        streams.recalled(key, twin, None)
        assert streams.ready(key, twin)

    def test_are_remembered_by_whoever_reads_them_as_by_who_wrote_them(self, log: PaperLog) -> None:
        desk = self.busy(log, 2 * WINDOW + 3)
        reader = owner_of(log, Bounds()).streams
        wrote, read = desk.owner.streams.get(stream().key), reader.get(stream().key)
        assert wrote is not None
        assert read is not None
        assert (wrote.answered, wrote.version, wrote.last_offset) == (read.answered, read.version, read.last_offset)
        assert reader.remembered == desk.owner.streams.remembered


class TestTags:
    def test_know_all_that_were_added_and_no_others(self) -> None:
        tags = Tags()
        for start in range(0, 5_000, 256):
            tags.add(number.to_bytes(16, "big") for number in range(start, start + 256))
        assert all(tags.may_hold(number.to_bytes(16, "big")) for number in range(5_000))
        assert not any(tags.may_hold(number.to_bytes(16, "big")) for number in range(6_000, 8_000))
        assert len(tags.runs) <= 8
