"""Facts to bytes and back."""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from avro.schema import parse
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import MARKER, BrokenBody, Codec, UnknownSchema, fingerprint_of
from events.consents import ConsentGranted, Purpose
from events.flags import FlagSet
from events.registry import EventType, UnknownEvent, known_types
from events.rooms import prepared_codec
from events.schema import schema_of
from events.sealing import Sealed
from events.upcasting import is_newest
from events.usage import UsageRated
from tests.instances import instances

KINDS = [kind for kind in known_types() if is_newest(kind)]
CODEC = prepared_codec()
LEARNT = {kind.ce_type: Codec() for kind in KINDS}
for each in KINDS:
    LEARNT[each.ce_type].learn(json.dumps(schema_of(each)))
FLAG = FlagSet(enabled=True, variant="short")


def schema(kind: type) -> Any:
    return schema_of(next(each for each in KINDS if each.cls is kind))


def without_field(whole: Any, name: str) -> Any:
    return {**whole, "fields": [each for each in whole["fields"] if each["name"] != name]}


class TestFingerprint:
    @pytest.mark.parametrize(
        ("plain", "number"),
        [
            # The Avro project's own vectors (share/test/data/schema-tests.txt), as Java's signed numbers.
            ("null", 7195948357588979594),
            ("boolean", -6970731678124411036),
            ("int", 8247732601305521295),
            ("long", -3434872931120570953),
            ("float", 5583340709985441680),
            ("double", -8181574048448539266),
            ("bytes", 5746618253357095269),
            ("string", -8142146995180207161),
        ],
    )
    def test_is_avros_own_least_byte_first(self, plain: str, number: int) -> None:
        assert fingerprint_of(plain) == number.to_bytes(8, "little", signed=True)

    @pytest.mark.parametrize(
        "kind", [kind for kind in KINDS if "logicalType" not in json.dumps(schema_of(kind))], ids=lambda kind: kind.ce_type
    )
    def test_is_what_another_reader_finds(self, kind: EventType) -> None:
        # Apache's Python keeps {"type": "long"} where its logical type stood, against the specification; so those are left out.
        assert fingerprint_of(schema_of(kind)) == parse(json.dumps(schema_of(kind))).fingerprint()

    def test_does_not_depend_on_documentation_or_defaults(self) -> None:
        plain = schema(FlagSet)
        assert fingerprint_of({**plain, "doc": "other words"}) == fingerprint_of(plain)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.ce_type)
class TestEveryEvent:
    @settings(max_examples=50)
    @given(data=st.data())
    def test_comes_back_as_it_went(self, kind: EventType, data: st.DataObject) -> None:
        fact = data.draw(instances(kind.cls))
        value = CODEC.encode(fact)
        assert value[2:10] == CODEC.schema(fact)[0]
        assert CODEC.decode(value) == fact

    @settings(max_examples=50)
    @given(data=st.data())
    def test_comes_back_through_the_schema_on_the_log(self, kind: EventType, data: st.DataObject) -> None:
        fact = data.draw(instances(kind.cls))
        value, reader = CODEC.encode(fact), LEARNT[kind.ce_type]
        assert reader.decode(value) == fact

    @settings(max_examples=50)
    @given(data=st.data())
    def test_is_broken_when_it_is_cut(self, kind: EventType, data: st.DataObject) -> None:
        value = CODEC.encode(data.draw(instances(kind.cls)))
        with pytest.raises(BrokenBody):
            CODEC.decode(value[: data.draw(st.integers(0, len(value) - 1))])


class TestDecode:
    @given(st.binary(max_size=40))
    def test_of_anything_raises_what_readers_expect(self, value: bytes) -> None:
        with pytest.raises((BrokenBody, UnknownSchema)):
            CODEC.decode(value)

    @given(st.sampled_from(KINDS), st.binary(max_size=40))
    def test_of_anything_behind_a_known_mark_is_a_fact_or_broken(self, kind: EventType, body: bytes) -> None:
        with suppress(BrokenBody):
            assert isinstance(CODEC.decode(MARKER + fingerprint_of(schema_of(kind)) + body), kind.cls)

    def test_of_an_unknown_mark_waits_for_its_schema(self) -> None:
        with pytest.raises(UnknownSchema) as raised:
            CODEC.decode(MARKER + b"12345678" + b"body")
        assert raised.value.mark == b"12345678"

    def test_of_an_event_that_this_program_does_not_declare_says_so(self) -> None:
        codec = Codec()
        foreign = {**schema(FlagSet), "event": "flag-frozen"}
        codec.learn(foreign)
        with pytest.raises(UnknownEvent, match=r"flag-frozen\.v1"):
            codec.decode(CODEC.encode(FLAG))

    def test_of_a_purpose_that_nobody_knows_yet_is_broken_and_not_taken_for_another(self) -> None:
        value = CODEC.encode(ConsentGranted(subject=Sealed("AYB-1/c1", b""), purpose=Purpose.RECORDING, evidence=""))
        with pytest.raises(BrokenBody, match="broadcast"):
            CODEC.decode(value.replace(b"recording", b"broadcast"))

    def test_gives_a_field_that_came_later_its_default(self) -> None:
        old = without_field(schema(FlagSet), "description")
        mark = Codec().learn(old)
        codec = prepared_codec()
        codec.learn(old)
        enabled_short = b"\x01" + b"\x0ashort"
        assert codec.decode(MARKER + mark + enabled_short) == FLAG

    def test_passes_over_a_field_that_has_left(self) -> None:
        more = {**schema(FlagSet), "fields": [{"name": "colour", "type": "string"}, *schema(FlagSet)["fields"]]}
        codec = prepared_codec()
        mark = codec.learn(more)
        assert codec.decode(MARKER + mark + b"\x06red" + b"\x01" + b"\x0ashort" + b"\x00") == FLAG


class TestValues:
    def test_of_money_are_equal_whatever_their_exponent(self) -> None:
        rated = UsageRated(call_id="call_1", currency="USD", rate_table="2026-11", lines=(), total=Decimal("10.500000000"))
        back = CODEC.decode(CODEC.encode(rated))
        assert back == rated
        assert isinstance(back, UsageRated)
        assert str(back.total) == "10.5"

    def test_of_time_keep_microseconds_and_their_zone(self) -> None:
        end = datetime(2027, 1, 1, 0, 0, 0, 1, UTC)
        granted = ConsentGranted(subject=Sealed("AYB-1/c1", b""), purpose=Purpose.RECORDING, evidence="", expires_at=end)
        back = CODEC.decode(CODEC.encode(granted))
        assert isinstance(back, ConsentGranted)
        assert back.expires_at == end
        assert back.expires_at.tzinfo is not None

    def test_keep_every_digit_that_the_schema_can_hold(self) -> None:
        rated = UsageRated(call_id="", currency="USD", rate_table="", lines=(), total=Decimal("9" * 26 + "." + "9" * 12))
        assert CODEC.decode(CODEC.encode(rated)) == rated

    @pytest.mark.parametrize("micros", [b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01"])
    def test_of_time_that_no_calendar_has_are_broken(self, micros: bytes) -> None:
        value = CODEC.encode(ConsentGranted(subject=Sealed("AYB-1/c1", b""), purpose=Purpose.RECORDING, evidence=""))
        with pytest.raises(BrokenBody):
            CODEC.decode(value[:-1] + b"\x02" + micros)

    def test_of_money_that_has_too_many_digits_are_broken(self) -> None:
        value = CODEC.encode(UsageRated(call_id="", currency="", rate_table="", lines=(), total=Decimal(0)))
        with pytest.raises(BrokenBody):
            CODEC.decode(value[:-2] + b"\x50" + b"\x7f" * 40)

    def test_that_are_no_event_are_not_encoded(self) -> None:
        @dataclass(frozen=True)
        class Foreign:
            words: str

        with pytest.raises(UnknownEvent, match="Foreign"):
            Codec().encode(Foreign("x"))
