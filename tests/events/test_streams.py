"""A stream's name, and the partition on which every client finds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.streams import InvalidStreamName, StreamId, murmur2, partition_of, room_of, topic_of

PARTS = st.from_regex(r"[A-Za-z0-9_.:-]{1,120}", fullmatch=True)


class TestMurmur2:
    @pytest.mark.parametrize(
        ("key", "hashed"),
        [
            # The vectors of Kafka's own tests (UtilsTest.testMurmur2), as Java's signed numbers.
            ("21", -973932308),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ],
    )
    def test_is_that_of_the_java_client(self, key: str, hashed: int) -> None:
        assert murmur2(key.encode()) == hashed & 0xFFFFFFFF

    @given(st.binary(max_size=64), st.integers(1, 64))
    def test_puts_every_key_on_a_partition(self, key: bytes, partitions: int) -> None:
        assert 0 <= partition_of(key, partitions) < partitions

    def test_drops_the_sign_as_kafkas_partitioner_does(self) -> None:
        assert partition_of(b"21", 8) == (-973932308 & 0x7FFFFFFF) % 8


class TestStreamId:
    @given(PARTS, PARTS, PARTS)
    def test_reads_back_from_a_records_key(self, tenant: str, category: str, name: str) -> None:
        stream = StreamId(tenant, category, name)
        assert StreamId.parse(stream.key) == StreamId.parse(str(stream)) == stream

    @pytest.mark.parametrize("part", ["", "a/b", "a b", "é", "a\n", "x" * 121])
    def test_is_refused_for_a_part_that_could_be_read_two_ways(self, part: str) -> None:
        for parts in ((part, "calls", "c1"), ("AYB-1", part, "c1"), ("AYB-1", "calls", part)):
            with pytest.raises(InvalidStreamName):
                StreamId(*parts)

    @pytest.mark.parametrize("key", [b"", b"a/b", b"a/b/c/d", b"a//c", b"\xff/b/c"])
    def test_is_not_read_from_a_foreign_key(self, key: bytes) -> None:
        with pytest.raises(InvalidStreamName):
            StreamId.parse(key)


def test_a_rooms_topic_names_the_room() -> None:
    assert topic_of("calls") == "aybiza.calls.v1"
    assert room_of(topic_of("calls")) == "calls"
