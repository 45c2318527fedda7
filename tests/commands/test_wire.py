"""Any command of any decider comes back as it went; another version's is refused in words."""

import typing
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.calls.orders import OrderHangUp, Witness
from commands.decider import Decider
from commands.dispatch import Order
from commands.flags import RemoveFlag, SetFlag
from commands.rooms import DECIDERS
from commands.wire import BrokenCommand, CommandWire, UnknownCommand
from events.calls.ending import EngineFailure
from events.recorded import EventId
from tests.instances import any_of

WIRE = CommandWire(DECIDERS)
SET = SetFlag(enabled=True, variant="on")
ORDER = Order(command_id=b"c" * 16, digest=b"d" * 16, actor="worker/wörk", occurred_at=datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=UTC))


def commands_of(category: str) -> st.SearchStrategy[Any]:
    return any_of(typing.get_type_hints(DECIDERS[category].decide)["command"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    amount: Decimal
    notes: tuple[str, ...] = field(default=("usual",))


def decider_of(*commands: type) -> Decider[Any, Any, Any]:
    def decide(command: Any, state: Any) -> Sequence[Any]:
        return (command, state)

    decide.__annotations__["command"] = typing.Union[commands]  # noqa: UP007 - of a tuple
    return Decider(room="flags", category="flags", initial=None, decide=decide, evolve=lambda state, _: state)


@pytest.mark.parametrize("category", sorted(DECIDERS))
class TestEveryCommand:
    @given(data=st.data())
    def test_comes_back_as_it_went(self, category: str, data: st.DataObject) -> None:
        command = data.draw(commands_of(category))
        assert WIRE.decode(category, WIRE.encode(category, command)) == command

    @given(data=st.data())
    def test_is_refused_in_words_when_its_bytes_were_changed(self, category: str, data: st.DataObject) -> None:
        whole = bytearray(WIRE.encode(category, data.draw(commands_of(category))))
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
        with suppress(UnknownCommand, BrokenCommand):
            WIRE.decode(category, cut)


class TestAnotherVersionsCommand:
    @pytest.mark.parametrize("other", [
        make_dataclass("SetFlag", [("enabled", bool), ("variant", str), ("description", str), ("more", str)], frozen=True),
        make_dataclass("SetFlag", [("enabled", bool), ("variant", str)], frozen=True),
        make_dataclass("SetFlag", [("variant", str), ("enabled", bool), ("description", str)], frozen=True),
        make_dataclass("SetFlag", [("enabled", int), ("variant", str), ("description", str)], frozen=True),
    ])  # fmt: skip
    def test_with_other_fields_is_refused_by_its_name(self, other: type) -> None:
        with pytest.raises(UnknownCommand, match="SetFlag of 'flags' has other fields here; start the program"):
            CommandWire({"flags": decider_of(other)}).decode("flags", WIRE.encode("flags", SET))

    def test_differs_where_only_the_meaning_of_a_field_does(self) -> None:
        # As Avro's own fingerprint would not: both are a long.
        since, moment = (make_dataclass("Pay", [("at", kind)], frozen=True) for kind in (int, datetime))
        value = CommandWire({"flags": decider_of(since)}).encode("flags", since(at=1))
        with pytest.raises(UnknownCommand):
            CommandWire({"flags": decider_of(moment)}).decode("flags", value)

    def test_that_nobody_knows_is_refused_by_its_name(self) -> None:
        with pytest.raises(UnknownCommand, match="RemoveFlag of 'flags' is not known here; start the program"):
            CommandWire({"flags": decider_of(SetFlag)}).decode("flags", WIRE.encode("flags", RemoveFlag()))

    def test_with_an_unknown_fact_is_refused(self) -> None:
        value = WIRE.encode("calls", Witness(fact=EngineFailure(turn=1, engine="x", reason="y", at_ms=2)))
        at = value.index(b"\xc3\x01") + 2
        with pytest.raises(UnknownCommand, match="Witness of 'calls' carries a fact that this program does not know"):
            WIRE.decode("calls", value[:at] + bytes(8) + value[at + 8 :])

    def test_in_another_layout_is_refused(self) -> None:
        with pytest.raises(UnknownCommand, match="layout 2"):
            WIRE.decode("flags", b"\x02" + WIRE.encode("flags", SET)[1:])


class TestCommandWire:
    def test_refuses_to_send_what_the_category_does_not_take(self) -> None:
        with pytest.raises(UnknownCommand, match="OrderHangUp is no command of 'flags'"):
            WIRE.encode("flags", OrderHangUp(reason="x"))

    def test_takes_defaults_that_no_event_could_have(self) -> None:
        wire = CommandWire({"flags": decider_of(Pay, SetFlag)})
        pay = Pay(amount=Decimal("1.50"))
        assert wire.decode("flags", wire.encode("flags", pay)) == pay

    def test_names_what_both_ends_must_share(self) -> None:
        assert WIRE.marks() == CommandWire(DECIDERS).marks()
        assert {"calls/Witness", "call-sids/ReserveCallSid"} < set(WIRE.marks())


class TestOrder:
    @given(
        any_of(Order, {bytes: st.binary(min_size=16, max_size=16), int: st.integers(0, 2**32 - 1)},
               span_id=st.binary(min_size=8, max_size=8), causation=st.none() | st.builds(EventId, st.binary(min_size=16, max_size=16),
                                                                                          st.integers(0, 2**32 - 1)))
    )  # fmt: skip
    def test_comes_back_as_it_went(self, order: Order) -> None:
        assert WIRE.decode_order(WIRE.encode_order(order)) == order

    def test_of_another_layout_is_refused(self) -> None:
        with pytest.raises(UnknownCommand, match="layout 9"):
            WIRE.decode_order(b"\x09" + WIRE.encode_order(ORDER)[1:])

    def test_that_was_cut_is_broken(self) -> None:
        with pytest.raises(BrokenCommand):
            WIRE.decode_order(WIRE.encode_order(ORDER)[:90])
