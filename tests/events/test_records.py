"""Records as they lie on the log, and the facts they carry."""

from datetime import UTC, datetime

import pytest

from events.admission import Fence
from events.flags import FlagSet
from events.headers import HEADER, ZERO_16, Kind, RecordHeader
from events.positions import Position
from events.recorded import EventId
from events.records import RawRecord, position_of, read_header, recorded, write_headers
from events.rooms import prepared_codec
from events.streams import StreamId

CODEC = prepared_codec()
FACT = FlagSet(enabled=True, variant="on")
STREAM = StreamId("AYB-TEST-TEST-TEST", "flags", "greeting")
PACKED = RecordHeader(
    kind=Kind.EVENT, term=7, claim_id=b"c" * 16, version=12, commit_id=b"k" * 16, index=1, count=3, command_id=b"o" * 16,
    occurred_at_us=1_700_000_000_123_456, causation_id=b"w" * 16, causation_index=2, correlation_id=b"r" * 16, depth=1, actor="api",
)  # fmt: skip


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
