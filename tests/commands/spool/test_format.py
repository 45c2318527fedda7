"""A spool's bytes: what was promised comes back as it was, or is missed aloud."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.spool.format import (
    Checksum,
    Entry,
    SpoolOfAnotherVersion,
    framed,
    payload_of,
    read_segment,
    segment_header,
    sha,
)

OWNER = "1764-ab"
ENTRIES = st.builds(
    Entry, st.sampled_from(["AYB-1/calls/c1", "AYB-1/calls/c2"]), st.sampled_from(["MZ1", "MZ2"]), st.integers(0, 99),
    st.binary(max_size=30), st.binary(max_size=60),
)  # fmt: skip
GROUPS = st.lists(st.lists(ENTRIES, min_size=1, max_size=3), min_size=1, max_size=4)


def segment(groups: Sequence[Sequence[Entry]], first: int = 1, checksum: Checksum = sha) -> tuple[bytes, list[int]]:
    """The bytes, and the offset after the header and after each group: where syncs were."""
    data = segment_header(OWNER, first, {}, [], checksum)
    ends, number = [len(data)], first
    for group in groups:
        synced = number - 1
        for entry in group:
            data += framed(payload_of(entry), number, synced, OWNER.encode(), checksum)
            number += 1
        ends.append(len(data))
    return data, ends


def flat(groups: Sequence[Sequence[Entry]]) -> list[Entry]:
    return [entry for group in groups for entry in group]


def flipped(data: bytes, at: int, bits: int) -> bytes:
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]


class TestSegment:
    @given(GROUPS, st.integers(1, 10**6))
    def test_comes_back_as_it_was_written(self, groups: list[list[Entry]], first: int) -> None:
        read = read_segment(segment(groups, first)[0], OWNER)
        assert list(read.entries.items()) == list(enumerate(flat(groups), first))
        assert (read.first, read.next, read.torn_bytes, read.damaged_at) == (first, first + len(flat(groups)), 0, None)

    @given(GROUPS, st.data())
    def test_cut_by_a_crash_keeps_every_whole_entry_and_is_not_damaged(self, groups: list[list[Entry]], data: st.DataObject) -> None:
        whole, ends = segment(groups)
        cut = data.draw(st.integers(0, len(whole)))
        read = read_segment(whole[:cut], OWNER)
        entries = flat(groups)
        assert list(read.entries.values()) == entries[: len(read.entries)]
        promised = sum(len(group) for group, end in zip(groups, ends[1:], strict=True) if end <= cut)
        assert len(read.entries) >= promised
        assert read.damaged_at is None

    @settings(max_examples=300)
    @given(GROUPS, st.data())
    def test_with_a_changed_byte_gives_nothing_else_and_nothing_after_it(self, groups: list[list[Entry]], data: st.DataObject) -> None:
        whole, ends = segment(groups)
        at, bits = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
        try:
            read = read_segment(flipped(whole, at, bits), OWNER)
        except SpoolOfAnotherVersion:
            assert at in (4, 5)
            return
        entries = flat(groups)
        assert list(read.entries.values()) == entries[: len(read.entries)]
        # Whatever was followed by a sync that succeeded is missed aloud, and not taken for a crash's work.
        assert read.damaged_at is not None or at >= ends[-2]

    def test_with_a_changed_byte_gives_something_else_where_nothing_is_checked(self) -> None:
        def unchecked(_: bytes) -> bytes:
            return bytes(8)

        entry = Entry("AYB-1/calls/c1", "MZ1", 1, b"order", b"command")
        whole, _ = segment([[entry], [entry]], checksum=unchecked)
        read = read_segment(flipped(whole, len(whole) - 1, 1), OWNER, unchecked)
        assert [each.command for each in read.entries.values()] == [b"command", b"commane"]

    def test_of_another_process_holds_nothing_for_this_one(self) -> None:
        whole, _ = segment([[Entry("AYB-1/calls/c1", "MZ1", 1, b"o", b"c")]])
        assert not read_segment(whole, "1764-cd").entries

    def test_of_another_version_is_refused_with_the_way_out(self) -> None:
        whole, _ = segment([])
        with pytest.raises(SpoolOfAnotherVersion, match=r"version 2, this program writes 1\); start that version, or a newer one"):
            read_segment(whole[:5] + b"\x02" + whole[6:], OWNER)
