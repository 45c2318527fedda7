"""The compiled codec beside fastavro: the same bytes, and the same facts from them."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from fastavro.schema import parse_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import BrokenBody
from events.compiling import decoder, encoder
from events.registry import EventType, known_types
from events.rooms import prepared_codec
from events.schema import UnsupportedField, lowering, raising, schema_of
from tests.instances import instances

KINDS = list(known_types())
CODEC = prepared_codec()
BROKEN = (ArithmeticError, EOFError, IndexError, KeyError, TypeError, ValueError)


class Other:
    """fastavro, with one kind of event."""

    def __init__(self, kind: EventType) -> None:
        self.schema = parse_schema(schema_of(kind), {})
        self.lower, self.build = lowering(kind.cls), raising(kind.cls)

    def encode(self, fact: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.schema, self.lower(fact))
        return out.getvalue()

    def decode(self, body: bytes) -> Any:
        return self.build(fastavro.schemaless_reader(io.BytesIO(body), self.schema, None))


OTHERS = {kind.ce_type: Other(kind) for kind in KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """Of every plain type."""

    flag: bool
    number: int
    ratio: float
    amount: Decimal
    moment: datetime
    box: bytes
    tags: tuple[str, ...] = ()
    maybe: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Holds others of its kind, and has no slots."""

    leaf: Leaf | None
    trees: tuple["Tree", ...]
    named: dict[str, "Tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Looks at what it is made of."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("negative")


LEAVES = EventType(name="leaf", version=1, room="flags", cls=Leaf)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.ce_type)
class TestEveryEvent:
    @settings(max_examples=40)
    @given(data=st.data())
    def test_has_the_very_bytes_that_fastavro_writes(self, kind: EventType, data: st.DataObject) -> None:
        fact = data.draw(instances(kind.cls))
        assert CODEC.encode(fact)[10:] == OTHERS[kind.ce_type].encode(fact)

    @settings(max_examples=40)
    @given(data=st.data())
    def test_is_read_as_fastavro_reads_it_or_not_at_all(self, kind: EventType, data: st.DataObject) -> None:
        value = bytearray(CODEC.encode(data.draw(instances(kind.cls))))
        if len(value) > 10:
            value[data.draw(st.integers(10, len(value) - 1))] = data.draw(st.integers(0, 255))
        try:
            fact = CODEC.decode(bytes(value))
        except BrokenBody:
            return
        # By their words: a number that is none does not equal itself.
        assert repr(fact) == repr(OTHERS[kind.ce_type].decode(bytes(value[10:])))


class TestEveryType:
    @given(instances(Leaf))
    def test_has_the_very_bytes_that_fastavro_writes(self, leaf: Leaf) -> None:
        other = Other(LEAVES)
        written = encoder(Leaf, b"mark")(leaf)
        assert written == b"mark" + other.encode(leaf)
        assert decoder(Leaf, 4)(written) == other.decode(written[4:]) == leaf

    @pytest.mark.parametrize("amount", ["0", "-0.000000000128", "-0.000000000127", "1E+20", "-99999999999999999999999999.999999999999"])
    def test_holds_amounts_of_any_length_and_sign(self, amount: str) -> None:
        leaf = Leaf(flag=True, number=0, ratio=0.0, amount=Decimal(amount), moment=datetime(1970, 1, 1, tzinfo=UTC), box=b"")
        assert encoder(Leaf, b"")(leaf) == Other(LEAVES).encode(leaf)

    def test_may_hold_itself(self) -> None:
        tree = Tree(leaf=None, trees=(Tree(leaf=None, trees=(), named={}),), named={"a": Tree(leaf=None, trees=(), named={})})
        assert decoder(Tree, 1)(encoder(Tree, b"x")(tree)) == tree

    def test_looks_at_what_was_read_where_it_looks_at_all(self) -> None:
        written = encoder(Checked, b"")(Checked(number=1))
        assert decoder(Checked, 0)(written) == Checked(number=1)
        with pytest.raises(ValueError, match="negative"):
            decoder(Checked, 0)(b"\x01")

    def test_that_has_no_form_is_named(self) -> None:
        @dataclass(frozen=True, slots=True, kw_only=True)
        class Odd:
            thing: object

        with pytest.raises(UnsupportedField, match="object"):
            encoder(Odd, b"")


class TestEncoding:
    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
    def test_refuses_numbers_that_do_not_fit(self, number: int) -> None:
        with pytest.raises(OverflowError):
            encoder(Checked, b"")(Checked(number=abs(number)))

    def test_refuses_a_time_without_a_zone(self) -> None:
        leaf = Leaf(flag=True, number=0, ratio=0.0, amount=Decimal(0), moment=datetime(2026, 1, 1), box=b"")  # noqa: DTZ001 - the very point
        with pytest.raises(TypeError):
            encoder(Leaf, b"")(leaf)


class TestDecoding:
    @pytest.mark.parametrize(
        "body",
        [b"", b"\x80", b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00", b"\xff" * 11],
        ids=["nothing", "cut", "more than 64 bits", "more than 10 bytes", "no end"],
    )
    def test_refuses_what_is_no_number(self, body: bytes) -> None:
        with pytest.raises(BROKEN):
            decoder(Checked, 0)(body)

    def test_does_not_believe_in_more_entries_than_bytes(self) -> None:
        endless = b"\x00" + encoder(Checked, b"")(Checked(number=2**60))
        with pytest.raises(EOFError, match="more entries"):
            decoder(Tree, 0)(endless)

    def test_reads_blocks_that_say_their_size(self) -> None:
        one, two = b"\x02a", b"\x02b"

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Tags:
            tags: tuple[str, ...]

        assert decoder(Tags, 0)(b"\x01\x04" + one + b"\x02" + two + b"\x00") == Tags(tags=("a", "b"))
