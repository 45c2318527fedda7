"""What was ever written can be read for ever: schemas, golden examples, and the checks that guard them."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from avro.io import BinaryDecoder, DatumReader
from avro.schema import parse

from events import rooms
from events.codec import Codec
from events.flags import FlagSet
from events.registry import EventType, event, known_types
from events.schema import UnsupportedField, schema_of
from infra.adapters.avro import files
from infra.adapters.avro.compatibility import faults_between
from infra.adapters.avro.goldens import Golden, faults_of, golden_of, plain

KINDS = list(known_types())
GOLDENS = files.goldens(files.SCHEMAS)


def kind_of(*fields: tuple[str, Any] | tuple[str, Any, Any], name: str = "flag-set", cls: str = "FlagSet") -> EventType:
    """A kind of event as another day's program may declare it."""
    described = [(one[0], one[1], field(default=one[2])) if len(one) == 3 else one for one in fields]
    return EventType(name=name, version=1, room="flags", cls=make_dataclass(cls, described, kw_only=True))


def as_json(read: Any, schema: Any, records: dict[str, Any] | None = None) -> Any:
    """What another reader found, in the form of a golden example: maps are sorted pairs there, records are objects.

    `records` are those defined so far: a schema defines each once, and names it after that.
    """
    known = {} if records is None else records
    match schema:
        case ["null", inner]:
            learn(inner, known)
            return None if read is None else as_json(read, inner, known)
        case {"type": "record", "fields": entries}:
            learn(schema, known)
            return {each["name"]: as_json(read[each["name"]], each["type"], known) for each in entries}
        case {"type": "map", "values": inner}:
            return [[name, as_json(each, inner, known)] for name, each in sorted(read.items())]
        case {"type": "array", "items": inner}:
            return [as_json(each, inner, known) for each in read]
        case "aybiza.Sealed":
            return {"subject": read["subject"], "box": read["box"].hex()}
        case str() if schema in known:
            return as_json(read, known[schema], known)
        case _:
            return plain(read)


def learn(schema: Any, records: dict[str, Any]) -> None:
    """Every record that a schema defines, by its name; also where nothing of it was read."""
    match schema:
        case {"type": "record", "name": name, "namespace": namespace, "fields": entries}:
            records.setdefault(f"{namespace}.{name}", schema)
            for each in entries:
                learn(each["type"], records)
        case ["null", inner] | {"values": inner} | {"items": inner}:
            learn(inner, records)


THEN = kind_of(("enabled", bool), ("variant", str))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which THEN was written and committed."""
    root = tmp_path / "schemas"
    files.write(root, [THEN])
    return root


class TestCommittedSchemas:
    def test_are_what_the_classes_say(self) -> None:
        assert files.drift(files.SCHEMAS, KINDS) == []

    def test_are_fully_compatible_with_every_one_before(self) -> None:
        assert files.incompatible(files.SCHEMAS, KINDS) == []

    def test_have_a_golden_example_each(self) -> None:
        assert files.without_golden(files.SCHEMAS, KINDS) == []

    @pytest.mark.parametrize(("path", "golden"), GOLDENS, ids=[path.stem for path, _ in GOLDENS])
    @pytest.mark.parametrize("codec", [Codec, rooms.prepared_codec])
    def test_decode_for_ever_to_what_they_said(self, path: Path, golden: Golden, codec: Callable[[], Codec]) -> None:
        assert path.stem.endswith(golden.fingerprint)
        assert faults_of(golden, codec()) == []

    @pytest.mark.parametrize("golden", [golden for _, golden in GOLDENS], ids=[path.stem for path, _ in GOLDENS])
    def test_are_read_alike_by_apaches_own_reader(self, golden: Golden) -> None:
        reader = DatumReader(parse(json.dumps(golden.schema)))
        for value, expected in golden.examples:
            body = io.BytesIO(bytes.fromhex(value)[10:])
            assert as_json(reader.read(BinaryDecoder(body)), golden.schema) == expected
            assert body.read() == b""

    def test_name_every_room(self) -> None:
        assert {path.name for path in (files.SCHEMAS / "events").iterdir()} == {*rooms.ROOMS, "guests", "ownership"}

    def test_keep_personal_fields_sealed(self) -> None:
        personal = {"caller", "number", "words", "said", "heard", "arguments", "answer", "filler", "subject"}
        for kind in KINDS:
            for entry in schema_of(kind)["fields"]:
                if entry["name"] in personal:
                    assert "Sealed" in json.dumps(entry["type"]), f"{kind.ce_type} {entry['name']}"


class TestDrift:
    def test_is_nothing_where_nothing_changed(self, folder: Path) -> None:
        assert files.drift(folder, [THEN]) == []

    def test_names_a_file_that_is_not_what_the_class_says(self, folder: Path) -> None:
        later = kind_of(("enabled", bool), ("variant", str), ("note", str, ""))
        assert files.drift(folder, [later]) == ["schemas/events/flags/flag-set.v1.avsc is not what the class says"]

    def test_names_what_is_missing_and_what_belongs_to_nothing(self, folder: Path) -> None:
        renamed = kind_of(("enabled", bool), ("variant", str), name="flag-turned")
        assert files.drift(folder, [renamed]) == [
            "schemas/events/flags/flag-turned.v1.avsc is missing",
            "schemas/events/flags/flag-set.v1.avsc belongs to no event; an event's name is for ever",
        ]


class Colour(StrEnum):
    RED = "red"


class TestCompatibility:
    @pytest.mark.parametrize(
        "later",
        [
            THEN,
            kind_of(("enabled", bool), ("variant", str), ("note", str, "")),
            kind_of(("note", int | None, None), ("variant", str), ("enabled", bool)),
            kind_of(("enabled", bool), ("variant", Colour)),
        ],
        ids=["the same", "a field more, with a default", "in another order", "a text that is an open set now"],
    )
    def test_holds_for_what_both_sides_can_read(self, folder: Path, later: EventType) -> None:
        assert files.incompatible(folder, [later]) == []

    @pytest.mark.parametrize(
        ("later", "fault"),
        [
            (kind_of(("enabled", bool)), "a program of then cannot read today's"),
            (kind_of(("enabled", bool), ("variant", str), ("note", str)), "today's program cannot read it"),
            (kind_of(("enabled", bool), ("kind", str, "")), "a program of then cannot read today's"),
            (kind_of(("enabled", bool), ("variant", int)), "today's program cannot read it"),
            (kind_of(("enabled", bool), ("variant", str | None, None)), "a program of then cannot read today's"),
            (kind_of(("enabled", bool), ("variant", bytes)), "/variant was string and is bytes"),
            (kind_of(("enabled", bool), ("variant", str), cls="FlagTurned"), "name mismatch"),
            (kind_of(("enabled", bool), ("variant", str), name="flag-turned"), "no class is declared as flag-set.v1"),
        ],
        ids=[
            "a field without default removed", "a field without default added", "a field renamed", "another type", "may be missing now",
            "bytes for text", "the class renamed", "the event renamed",
        ],
    )  # fmt: skip
    def test_breaks_for_what_one_side_cannot_read(self, folder: Path, later: EventType, fault: str) -> None:
        found = files.incompatible(folder, [later])
        assert fault in "\n".join(found)
        assert found[0].startswith("schemas/golden/flags/flag-set.v1.")

    def test_looks_at_every_schema_before_and_not_only_the_last(self, folder: Path) -> None:
        second = kind_of(("enabled", bool), ("variant", str), ("note", str, ""))
        files.write(folder, [second])
        third = kind_of(("enabled", bool), ("variant", str, ""), ("note", str, ""))
        files.write(folder, [third])
        # Compatible with the second alone, whose readers know a default for the note; the first one's know nothing of it.
        fourth = kind_of(("enabled", bool), ("note", str, ""))
        faults = files.incompatible(folder, [fourth])
        assert len(faults) == len(files.goldens(folder)) == 2
        assert files.incompatible(folder, [third]) == []

    def test_sees_a_meaning_that_the_fingerprint_does_not_show(self) -> None:
        money = schema_of(kind_of(("price", Decimal)))
        cents = json.loads(json.dumps(money).replace('"scale": 12', '"scale": 2'))
        assert faults_between(money, cents) == ["/price was bytes decimal 38 12 and is bytes decimal 38 2"]


class TestGolden:
    def test_is_missing_for_a_schema_that_is_new(self, folder: Path) -> None:
        later = kind_of(("enabled", bool), ("variant", str), ("note", str, ""))
        [missing] = files.without_golden(folder, [later])
        assert missing.startswith("schemas/golden/flags/flag-set.v1.")
        assert files.without_golden(folder, [THEN]) == []

    def test_is_never_written_over(self, folder: Path) -> None:
        [(path, _)] = files.goldens(folder)
        path.write_text(path.read_text().replace('"variant ☎"', '"by hand"'))
        assert files.write(folder, [THEN]) == []
        assert "by hand" in path.read_text()

    def test_has_an_example_with_everything_and_one_with_the_least(self) -> None:
        golden = golden_of(next(kind for kind in KINDS if kind.cls is FlagSet))
        assert [fact for _, fact in golden.examples] == [
            {"enabled": True, "variant": "variant ☎", "description": "description ☎"},
            {"enabled": False, "variant": "", "description": ""},
        ]

    @pytest.mark.parametrize("golden", [golden for _, golden in GOLDENS if golden.event == "flag-set"])
    def test_fails_when_the_bytes_or_their_meaning_changed(self, golden: Golden) -> None:
        (value, fact), *_ = golden.examples
        cut = replace(golden, examples=((value[:-2], fact),))
        assert "cannot be read" in faults_of(cut, Codec())[0]
        other = replace(golden, examples=((value, {**fact, "enabled": 1}),))
        assert faults_of(other, Codec()) == ["example 1: /enabled is True, not 1"]
        moved = replace(golden, fingerprint="00" * 8)
        assert "fingerprint" in faults_of(moved, Codec())[0]


class TestSchemaOf:
    def test_refuses_types_that_have_no_place_on_the_log(self) -> None:
        for hint in (object, list[str], int | str, dict[int, str], complex):
            with pytest.raises(UnsupportedField, match=r"FlagSet\.odd"):
                schema_of(kind_of(("odd", hint)))

    def test_refuses_a_default_that_old_readers_could_not_be_given(self) -> None:
        with pytest.raises(UnsupportedField, match=r"optional field's default"):
            schema_of(kind_of(("odd", int | None, 7)))


class TestRegistry:
    def test_refuses_two_events_of_one_name(self) -> None:
        @dataclass(frozen=True)
        class FlagSetAgain:
            enabled: bool

        with pytest.raises(TypeError, match=r"flag-set\.v1 is declared by FlagSet already"):
            event("flag-set", version=1)(FlagSetAgain)

    def test_refuses_what_is_no_dataclass(self) -> None:
        with pytest.raises(TypeError, match="dataclass"):
            event("flag-frozen", version=1)(object)
