"""The packed header, byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.headers import BrokenHeader, Kind, RecordHeader

ids = st.binary(min_size=16, max_size=16)
headers = st.builds(
    RecordHeader,
    kind=st.sampled_from(Kind),
    term=st.integers(0, 2**64 - 1),
    claim_id=ids,
    version=st.integers(0, 2**64 - 1),
    commit_id=ids,
    index=st.integers(0, 2**16 - 1),
    count=st.integers(0, 2**16 - 1),
    command_id=ids,
    digest=ids,
    occurred_at_us=st.integers(-(2**63), 2**63 - 1),
    causation_id=ids,
    causation_index=st.integers(0, 2**16 - 1),
    correlation_id=ids,
    trace_id=ids,
    span_id=st.binary(min_size=8, max_size=8),
    depth=st.integers(0, 255),
    actor=st.text(max_size=60),
)
HEADER = RecordHeader(kind=Kind.EVENT, term=7, claim_id=b"c" * 16, version=12, commit_id=b"k" * 16, index=1, count=3, actor="api")


class TestPacking:
    @given(headers)
    def test_comes_back_as_it_was(self, header: RecordHeader) -> None:
        assert RecordHeader.unpack(header.pack()) == header

    def test_has_the_documented_layout(self) -> None:
        packed = HEADER._replace(occurred_at_us=5, causation_index=9, depth=4).pack()
        assert len(packed) == 154 + 3
        assert (packed[0], packed[1]) == (1, 0)
        assert packed[2:10] == (7).to_bytes(8, "big")
        assert packed[10:26] == b"c" * 16
        assert packed[26:34] == (12).to_bytes(8, "big")
        assert packed[34:50] == b"k" * 16
        assert packed[50:54] == bytes((0, 1, 0, 3))
        assert packed[86:94] == (5).to_bytes(8, "big")
        assert packed[110:112] == bytes((0, 9))
        assert packed[152:] == bytes((4, 3)) + b"api"

    def test_refuses_an_actor_that_does_not_fit(self) -> None:
        with pytest.raises(ValueError, match="255 bytes"):
            HEADER._replace(actor="ö" * 128).pack()


class TestUnpacking:
    @pytest.mark.parametrize(
        "packed",
        [
            b"",
            HEADER.pack()[:100],
            HEADER.pack()[:-1],
            HEADER.pack() + b"x",
            b"\x02" + HEADER.pack()[1:],
            HEADER.pack()[:1] + b"\x09" + HEADER.pack()[2:],
            HEADER.pack()[:-3] + b"\xff\xfe\xfd",
        ],
        ids=["nothing", "cut in the layout", "cut in the actor", "too long", "another layout", "an unknown kind", "no UTF-8"],
    )
    def test_refuses_what_is_broken(self, packed: bytes) -> None:
        with pytest.raises(BrokenHeader):
            RecordHeader.unpack(packed)

    @given(st.binary(max_size=300))
    def test_never_fails_in_another_way(self, packed: bytes) -> None:
        try:
            assert RecordHeader.unpack(packed).pack() == packed
        except BrokenHeader:
            return
