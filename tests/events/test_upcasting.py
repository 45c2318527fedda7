"""Facts of old versions, read as the newest."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from events import registry, upcasting
from events.codec import BrokenBody, Codec
from events.headers import Kind, RecordHeader
from events.records import RawRecord, recorded
from events.registry import event, type_of, type_of_class
from events.schema import schema_of
from events.sealing import Sealed
from events.upcasting import is_newest, newest_of, upcast
from infra.adapters.avro import files
from infra.adapters.avro.goldens import faults_of, golden_of

SEALED: Sealed[str] = Sealed("AYB-1/c1", b"box")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class BellRungV1:
    """The bell rang; how often stood in a text."""

    by: Sealed[str]
    times: str
    note: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BellRungV2:
    """The bell rang so many times."""

    by: Sealed[str]
    times: int
    note: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class BellRung:
    """The bell rang so many times, since a moment."""

    by: Sealed[str]
    times: int
    note: str | None
    since: datetime


def second(old: BellRungV1) -> BellRungV2:
    return BellRungV2(by=old.by, times=int(old.times), note=old.note)


def third(old: BellRungV2) -> BellRung:
    return BellRung(by=old.by, times=old.times, note=None if old.note == "none" else old.note, since=LONG_AGO)


FIRST = BellRungV1(by=SEALED, times="3", note="loud")
NEWEST = BellRung(by=SEALED, times=3, note="loud", since=LONG_AGO)


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and upcasters of this module only, forgotten at its end."""
    monkeypatch.setattr(registry, "_BY_TYPE", {})
    monkeypatch.setattr(registry, "_BY_CLASS", {})
    monkeypatch.setattr(upcasting, "_STEPS", {})
    event("bell-rung", version=1, record="BellRung")(BellRungV1)
    event("bell-rung", version=2, record="BellRung")(BellRungV2)
    event("bell-rung", version=3)(BellRung)
    upcast(second)
    upcast(third)


@pytest.fixture
def written() -> bytes:
    """A fact as a program wrote it that knew nothing of the later versions."""
    return Codec().encode(FIRST)


class TestUpcasters:
    def test_lead_from_the_oldest_version_to_the_newest(self) -> None:
        old = Codec()
        values = [old.encode(FIRST), old.encode(second(FIRST)), old.encode(NEWEST)]
        for reader in (Codec(), Codec()):
            for fact in (FIRST, second(FIRST), NEWEST):
                reader.learn(schema_of(type_of(fact)))
            assert [reader.decode(value) for value in values] == [NEWEST] * 3

    def test_run_in_a_codec_that_was_prepared_and_in_one_that_learns_from_the_log(self, written: bytes) -> None:
        prepared, learning = Codec(), Codec()
        prepared.prepare([type_of_class(BellRungV1)])
        learning.learn(schema_of(type_of(FIRST)))
        assert prepared.decode(written) == learning.decode(written) == NEWEST

    def test_see_the_last_form_of_their_version_whichever_form_was_written(self) -> None:
        schema = schema_of(type_of(FIRST))
        before_there_were_notes = {**schema, "fields": schema["fields"][:2]}
        codec = Codec()
        mark = codec.learn(before_there_were_notes)
        body = b"\x10AYB-1/c1\x06box" + b"\x023"
        assert codec.decode(b"\xc3\x01" + mark + body) == replace(NEWEST, note=None)

    def test_run_wherever_records_become_facts(self, written: bytes) -> None:
        codec = Codec()
        codec.learn(schema_of(type_of(FIRST)))
        header = RecordHeader(kind=Kind.EVENT, term=1, claim_id=bytes(16), version=1)
        raw = RawRecord("t", 0, 7, 0, b"AYB-1/bells/b", written, "bell-rung.v1", header)
        assert recorded(raw, codec).fact == NEWEST

    def test_that_fail_leave_the_record_broken_and_nothing_else(self) -> None:
        value = Codec().encode(replace(FIRST, times="often"))
        codec = Codec()
        codec.learn(schema_of(type_of(FIRST)))
        with pytest.raises(BrokenBody, match="often"):
            codec.decode(value)

    def test_know_which_version_is_still_written(self) -> None:
        assert [newest_of(cls) for cls in (BellRungV1, BellRungV2, BellRung)] == [BellRung] * 3
        assert [is_newest(type_of_class(cls)) for cls in (BellRungV1, BellRungV2, BellRung)] == [False, False, True]


class TestUpcast:
    def test_leads_to_a_later_version_only(self) -> None:
        def back(new: BellRung) -> BellRungV1:
            raise AssertionError(new)

        with pytest.raises(TypeError, match=r"bell-rung\.v3 cannot become bell-rung\.v1"):
            upcast(back)

    def test_is_declared_once_for_a_version(self) -> None:
        def otherwise(old: BellRungV1) -> BellRung:
            raise AssertionError(old)

        with pytest.raises(TypeError, match=r"bell-rung\.v1 has an upcaster already"):
            upcast(otherwise)


class TestGoldenExamples:
    def test_of_old_versions_decode_to_the_newest_class(self) -> None:
        # The sample's text is no number, so it cannot be lifted; one that can be was written then.
        golden = replace(golden_of(type_of(FIRST)), examples=((Codec().encode(FIRST).hex(), {"times": "3", "note": "loud"}),))
        assert faults_of(golden, Codec()) == []

    def test_that_an_upcaster_cannot_lift_are_faults(self) -> None:
        (first, _second) = faults_of(golden_of(type_of(FIRST)), Codec())
        assert "cannot be read" in first

    def test_keep_their_name_though_the_class_is_called_otherwise(self, tmp_path: Path) -> None:
        schema = schema_of(type_of(FIRST))
        assert (schema["name"], schema["namespace"], schema["event"], schema["version"]) == ("BellRung", "aybiza.events", "bell-rung", 1)
        kinds = list(registry.known_types())
        files.write(tmp_path / "schemas", kinds)
        assert files.drift(tmp_path / "schemas", kinds) == files.incompatible(tmp_path / "schemas", kinds) == []
