"""Snapshots: what they hold, when they are gone on from, and when they are not."""

import hashlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.decider import CommandRefused, Decider
from commands.ownership.loading import Bases, Loader
from commands.ownership.owner import Owner
from commands.ownership.remembering import WINDOW, pack_answered
from commands.ownership.shapes import NotSnapshotable, fold_version, state_shape
from commands.ownership.snapping import Snapping
from commands.ownership.snapshots import Snapshot, SnapshotIgnored, pack, taken, unpack
from commands.ownership.streams import Stream, Streams
from commands.ports import Place
from commands.rooms import DECIDERS
from events.admission import Fence
from tests.commands.ownership.desk import CODEC, PLACE, Desk, command_id, order, stream
from tests.commands.ownership.desk import DECIDERS as FLAGS_ONLY
from tests.commands.ownership.test_cold import LOADING, ReadKafka, variant
from tests.commands.ownership.test_partition import Register
from tests.commands.test_every_decider import COMMANDS
from tests.paper_journal import PaperJournal
from tests.paper_snapshots import PaperSnapshots

KEY = stream("one").key
FENCE = Fence(3, b"f" * 16)


def snapshot_of(decider: Decider[Any, Any, Any], state: Any) -> Snapshot:
    key = f"t/{decider.category}/one".encode()
    answered = {command_id("last"): pack_answered(b"d" * 16, 41, 7, FENCE)}
    return Snapshot(
        key=key, place=PLACE, offset=41, fence=FENCE, leaf=b"l" * 32, version=7, state=state, answered=answered,
        tags=array("Q", [1, 2**64 - 1]),
    )  # fmt: skip


class TestSnapshot:
    @pytest.mark.parametrize("category", sorted(COMMANDS))
    @settings(max_examples=25)
    @given(data=st.data())
    def test_and_the_tail_make_the_state_that_a_replay_makes(self, category: str, data: st.DataObject) -> None:
        decider = DECIDERS[category]
        state, facts = decider.initial, []
        for command in data.draw(st.lists(COMMANDS[category], max_size=20)):
            try:
                decided = decider.decide(command, state)
            except CommandRefused:
                continue
            for fact in decided:
                state = decider.evolve(state, fact)
                facts.append(fact)
        cut = data.draw(st.integers(0, len(facts)))
        before = decider.initial
        for fact in facts[:cut]:
            before = decider.evolve(before, fact)
        snapshot = snapshot_of(decider, before)
        again = unpack(pack(snapshot, decider), snapshot.key, PLACE, DECIDERS)
        assert again == snapshot
        folded = again.stream().state
        for fact in facts[cut:]:
            folded = decider.evolve(folded, fact)
        assert folded == state

    def test_of_every_room_can_be_taken(self) -> None:
        assert all(state_shape(decider).text for decider in DECIDERS.values())

    def test_is_not_taken_of_a_state_without_a_type(self) -> None:
        def decide(_command: object, _state: Any) -> Sequence[object]:
            return ()

        with pytest.raises(NotSnapshotable, match="Any"):
            fold_version(replace(DECIDERS["flags"], decide=decide))

    def test_is_another_when_the_fold_or_the_states_type_is_another(self) -> None:
        @dataclass(frozen=True)
        class Other:
            enabled: bool

        def decide(_command: object, _state: Other | None) -> Sequence[object]:
            return ()

        flags = DECIDERS["flags"]
        versions = {fold_version(each) for each in (flags, replace(flags, fold_version=2), replace(flags, decide=decide))}
        assert len(versions) == 3

    def test_is_ignored_when_anything_of_it_changed(self) -> None:
        decider = DECIDERS["usage"]
        snapshot = snapshot_of(decider, state=True)
        packed = pack(snapshot, decider)
        for at in range(0, len(packed), 7):
            broken = bytearray(packed)
            broken[at] ^= 1
            with pytest.raises(SnapshotIgnored):
                unpack(bytes(broken), snapshot.key, PLACE, DECIDERS)

    def test_is_ignored_by_another_stream_partition_or_fold(self) -> None:
        decider = DECIDERS["usage"]
        snapshot = snapshot_of(decider, state=True)
        packed = pack(snapshot, decider)
        newer: Mapping[str, Decider[Any, Any, Any]] = {"usage": replace(decider, fold_version=2)}
        for key, place, deciders in (
            (b"t/usage/two", PLACE, DECIDERS), (snapshot.key, Place("aybiza.usage.v2", 0), DECIDERS), (snapshot.key, PLACE, newer)
        ):  # fmt: skip
            with pytest.raises(SnapshotIgnored):
                unpack(packed, key, place, deciders)

    def test_that_says_what_this_program_does_not_read_is_ignored(self) -> None:
        body = b"not what was packed"
        with pytest.raises(SnapshotIgnored, match="cannot be read"):
            unpack(b"AYS1" + hashlib.sha256(body).digest()[:16] + body, KEY, PLACE, DECIDERS)


class Shop:
    """An owner whose one stream has grown, its snapshots, and somebody who loads the stream after it."""

    def __init__(self) -> None:
        self.kafka = ReadKafka()
        self.journal = PaperJournal(self.kafka)
        self.snapshots = PaperSnapshots()
        self.desk = Desk(self.kafka.partition(PLACE))
        self.desk.claim()
        self.grown = 0

    @property
    def streams(self) -> Streams:
        return self.desk.owner.streams

    def grow(self, commands: int) -> None:
        for _ in range(commands):
            self.desk.ask(f"c{self.grown}", variant(str(self.grown)), stream("one"))
            self.desk.work()
            self.grown += 1

    async def snap(self, every: int = 4) -> None:
        """What the owner does now and then."""
        snapping = Snapping(self.desk.owner, self.kafka, self.snapshots, every)
        self.grow(every)
        await snapping.write_due()

    async def loaded(self, *, journal: bool = True) -> tuple[Stream, Streams]:
        """The stream in another owner's memory, who began at the end."""
        records = self.kafka.partition(PLACE).records
        owner = Owner(PLACE, Streams(FLAGS_ONLY, CODEC), "there")
        owner.begin(len(records), self.desk.owner.fence, 0)
        bases: Bases = Snapping(owner, self.kafka, self.snapshots)
        loader = Loader(owner, self.kafka, Register(self.kafka), self.journal if journal else None, bases, LOADING)
        assert await loader.load([KEY]) == {}
        known = owner.streams.get(KEY)
        assert known is not None
        return known, owner.streams

    def replayed(self) -> Stream:
        streams = Streams(FLAGS_ONLY, CODEC)
        for raw in self.kafka.partition(PLACE).admitted():
            assert raw.header is not None
            streams.fold(raw, raw.header, Fence(raw.header.term, raw.header.claim_id))
        known = streams.get(KEY)
        assert known is not None
        return known


@pytest.fixture
def shop() -> Shop:
    return Shop()


def same(one: Stream, other: Stream) -> bool:
    return (one.state, one.version, one.last_offset, one.answered) == (other.state, other.version, other.last_offset, other.answered)


class TestOwner:
    async def test_writes_one_when_a_stream_has_grown(self, shop: Shop) -> None:
        snapping = Snapping(shop.desk.owner, shop.kafka, shop.snapshots, 4)
        shop.grow(3)
        await snapping.write_due()
        assert shop.snapshots.kept == {}
        shop.grow(1)
        await snapping.write_due()
        assert list(shop.snapshots.kept) == [KEY]
        assert shop.streams.snapshots == {"kept": 1}
        shop.grow(3)
        assert not shop.streams.due

    async def test_goes_on_from_one_and_reads_only_what_came_since(self, shop: Shop) -> None:
        await shop.snap()
        shop.grow(2)
        known, streams = await shop.loaded()
        assert same(known, shop.replayed())
        assert streams.loads == {"snapshot": 1}
        assert [since.version for since in shop.journal.loads[-1].values()] == [4]

    async def test_goes_on_from_one_by_the_partition_where_the_journal_is_away(self, shop: Shop) -> None:
        await shop.snap()
        shop.grow(2)
        known, streams = await shop.loaded(journal=False)
        assert same(known, shop.replayed())
        assert streams.loads == {"snapshot": 1}
        assert 0 not in shop.kafka.reads

    @pytest.mark.parametrize("wrong", ["checksum", "record", "away", "ahead"])
    async def test_does_without_one_that_is_wrong(self, shop: Shop, wrong: str) -> None:
        await shop.snap()
        shop.grow(2)
        match wrong:
            case "checksum":
                shop.snapshots.kept[KEY] = shop.snapshots.kept[KEY][:-1] + b"!"
            case "record":
                snapshot = unpack(shop.snapshots.kept[KEY], KEY, PLACE, FLAGS_ONLY)
                shop.snapshots.kept[KEY] = pack(replace(snapshot, leaf=b"x" * 32), FLAGS_ONLY["flags"])
            case "away":
                shop.snapshots.away = True
            case "ahead":
                snapshot = unpack(shop.snapshots.kept[KEY], KEY, PLACE, FLAGS_ONLY)
                shop.snapshots.kept[KEY] = pack(replace(snapshot, offset=99), FLAGS_ONLY["flags"])
        known, streams = await shop.loaded()
        assert same(known, shop.replayed())
        assert streams.loads == {"journal": 1}
        assert streams.snapshots["ignored"] == (wrong in {"checksum", "record"})

    async def test_answers_old_commands_that_it_knows_by_a_snapshot(self, shop: Shop) -> None:
        shop.grow(2 * WINDOW)
        await shop.snap()
        known, streams = await shop.loaded()
        assert known.older is not None
        assert same(known, shop.replayed())
        assert streams.in_question(KEY, order("c0").command_id)
        assert not streams.in_question(KEY, order("new").command_id)

    async def test_loses_nothing_when_one_cannot_be_kept(self, shop: Shop) -> None:
        shop.snapshots.away = True
        await shop.snap()
        assert shop.streams.snapshots == {"lost": 1}
        assert (await shop.loaded())[0].version == 4

    def test_takes_no_picture_of_a_stream_whose_last_command_it_does_not_know(self) -> None:
        empty = Stream(None)
        assert taken(KEY, PLACE, empty) is None


class TestControl:
    async def test_a_snapshot_that_nobody_checks_would_bring_a_wrong_state(self, shop: Shop) -> None:
        """Why its leaf is checked: this one is whole, and of a history that is not the log's."""
        await shop.snap()
        snapshot = unpack(shop.snapshots.kept[KEY], KEY, PLACE, FLAGS_ONLY)
        forged = replace(snapshot, state=None, leaf=b"x" * 32)
        assert forged.stream().state != shop.replayed().state
        shop.snapshots.kept[KEY] = pack(forged, FLAGS_ONLY["flags"])
        assert (await shop.loaded())[0].state == shop.replayed().state
