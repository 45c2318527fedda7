"""Records as they lie on the log, and the facts they carry."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.admission import UNCLAIMED, Fence, Verdict, admit
from events.flags import FlagSet
from events.headers import HEADER, ZERO_16, BrokenHeader, Kind, RecordHeader, kind_of
from events.positions import Position
from events.recorded import EventId
from events.records import RawRecord, admitted_run, position_of, read_header, recorded, write_headers
from events.rooms import prepared_codec
from events.streams import StreamId

CODEC = prepared_codec()
FACT = FlagSet(enabled=True, variant="on")
STREAM = StreamId("AYB-TEST-TEST-TEST", "flags", "greeting")


class TestEventId:
    @given(st.binary(min_size=16, max_size=16), st.integers(0, 2**16 - 1))
    def test_is_read_in_any_spelling(self, commit_id: bytes, index: int) -> None:
        event_id, digits = EventId(commit_id, index), commit_id.hex()
        dashed = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        for text in (str(event_id), str(event_id).upper(), f"{digits}{index}", f"{dashed}-{index}", f" {digits} : {index}"):
            assert EventId.read(text) == event_id

    @pytest.mark.parametrize(
        "text", ["", "0" * 32, "0" * 31 + "-0", "g" * 32 + "-0", "0" * 32 + "-65536", "0" * 32 + "--0", "0" * 32 + "-x"]
    )
    def test_is_no_other_text(self, text: str) -> None:
        assert EventId.read(text) is None


PACKED = RecordHeader(
    kind=Kind.EVENT, term=7, claim_id=b"c" * 16, version=12, commit_id=b"k" * 16, index=1, count=3, command_id=b"o" * 16,
    occurred_at_us=1_700_000_000_123_456, causation_id=b"w" * 16, causation_index=2, correlation_id=b"r" * 16, depth=1, actor="api",
)  # fmt: skip
FENCES = [Fence(7, b"c" * 16), Fence(7, b"d" * 16), Fence(8, b"c" * 16)]

headers_of_any_kind = st.builds(
    lambda kind, actor: PACKED._replace(kind=kind, actor=actor).pack(), st.sampled_from(Kind), st.text(max_size=9)
)
headers_of_few_writers = st.builds(
    lambda kind, fence: RecordHeader(kind=kind, term=fence.term, claim_id=fence.claim_id, actor="few").pack(),
    st.sampled_from([Kind.EVENT, Kind.RECEIPT, Kind.BARRIER, Kind.RELEASE, Kind.CLAIM]),
    st.sampled_from([UNCLAIMED, *FENCES[:1] * 5, *FENCES]),
)
broken_headers = st.one_of(
    st.none(), st.sampled_from([b"", PACKED.pack()[:-1], PACKED.pack() + b"x", PACKED.pack()[:-3] + b"\xff\xfe\xfd"])
)


def raw(header: RecordHeader | None) -> RawRecord:
    return RawRecord("aybiza.flags.v1", 3, 1042, 1_700_000_000_500, STREAM.key, CODEC.encode(FACT), "flag-set.v1", header)


class TestHeaders:
    def test_are_read_as_they_were_written(self) -> None:
        headers = write_headers("flags", "flag-set.v1", "id-0", PACKED.pack())
        assert read_header(headers) == ("flag-set.v1", PACKED)

    def test_carry_what_cloud_events_require(self) -> None:
        headers = dict(write_headers("flags", "flag-set.v1", "id-0", b""))
        assert headers == {
            "ce_specversion": b"1.0",
            "ce_id": b"id-0",
            "ce_source": b"aybiza/flags",
            "ce_type": b"flag-set.v1",
            "content-type": b"application/avro",
            HEADER: b"",
        }

    def test_of_strangers_carry_no_header_of_ours(self) -> None:
        assert read_header([("trace", b"1")]) == ("", None)

    def test_that_are_broken_are_none_of_ours(self) -> None:
        assert read_header([("ce_type", b"flag-set.v1"), (HEADER, b"\x01")]) == ("flag-set.v1", None)


class TestRawRecord:
    def test_reads_its_header_when_it_is_asked(self) -> None:
        assert raw(PACKED).header == PACKED
        assert raw(PACKED).kind is Kind.EVENT
        assert raw(PACKED).packed == PACKED.pack()
        nothing = raw(None)
        assert (nothing.header, nothing.kind, nothing.packed) == (None, None, None)

    def test_has_no_header_where_it_is_broken_but_its_bytes(self) -> None:
        broken = RawRecord("aybiza.flags.v1", 3, 1042, 0, STREAM.key, b"", "flag-set.v1", b"\x01\x00")
        assert (broken.header, broken.kind, broken.packed) == (None, None, b"\x01\x00")

    def test_is_the_same_whether_its_header_was_read_or_not(self) -> None:
        read = raw(PACKED)
        assert read.header is not None
        assert read == raw(PACKED) == raw(PACKED)._replace(offset=1)._replace(offset=1042)
        assert hash(read) == hash(raw(PACKED))


class TestKindOf:
    @given(st.one_of(headers_of_any_kind, st.binary(max_size=200), st.none()))
    def test_is_what_unpacking_says(self, packed: bytes | None) -> None:
        try:
            expected = None if packed is None else RecordHeader.unpack(packed).kind
        except BrokenHeader:
            expected = None
        assert kind_of(packed) is expected


class TestAdmittedRun:
    @settings(max_examples=300)
    @given(st.lists(st.one_of(headers_of_few_writers, broken_headers), max_size=20), st.sampled_from([UNCLAIMED, *FENCES]))
    def test_ends_where_the_rule_says_otherwise(self, packed: list[bytes | None], fence: Fence) -> None:
        raws = [RawRecord("t", 0, at, 0, b"", b"", "", each) for at, each in enumerate(packed)]
        end = admitted_run(fence, raws, 0)
        assert all(admit(fence, each.header) == (fence, Verdict.ADMITTED) for each in raws[:end])
        assert end == len(raws) or admit(fence, raws[end].header)[1] is not Verdict.ADMITTED

    def test_of_a_fence_that_no_header_can_have_is_empty(self) -> None:
        assert admitted_run(Fence(2**64, b"c" * 16), [raw(PACKED)], 0) == 0
        assert admitted_run(Fence(7, b"c" * 15), [raw(PACKED)], 0) == 0


class TestRecorded:
    def test_says_what_where_when_by_whom_and_why(self) -> None:
        fact = recorded(raw(PACKED), CODEC)
        assert fact.fact == FACT
        assert fact.stream == STREAM
        assert fact.position == Position("aybiza.flags.v1", 3, 1042, Fence(7, b"c" * 16))
        assert (fact.version, str(fact.event_id), fact.count, fact.ends_commit) == (12, "6b" * 16 + "-1", 3, False)
        assert fact.occurred_at == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
        assert fact.appended_at == datetime(2023, 11, 14, 22, 13, 20, 500000, tzinfo=UTC)
        assert (fact.causation, fact.correlation_id, fact.depth, fact.actor) == (EventId(b"w" * 16, 2), b"r" * 16, 1, "api")

    def test_without_a_cause_has_none(self) -> None:
        header = RecordHeader(kind=Kind.EVENT, term=1, claim_id=ZERO_16)
        assert recorded(raw(header), CODEC).causation is None
        assert position_of(raw(header), header).fence == Fence(1, ZERO_16)

    @pytest.mark.parametrize("kind", [Kind.CLAIM, Kind.RECEIPT, Kind.BARRIER, Kind.RELEASE])
    def test_is_only_an_event(self, kind: Kind) -> None:
        with pytest.raises(ValueError, match="carries no event"):
            recorded(raw(RecordHeader(kind=kind, term=1, claim_id=ZERO_16)), CODEC)
