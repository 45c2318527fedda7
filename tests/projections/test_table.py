"""Shapes are checked when they are declared, and rows when they are folded."""

from dataclasses import dataclass
from datetime import datetime

import pytest

from events.flags import FlagSet
from events.recorded import Recorded
from events.streams import StreamId
from projections.flags import FLAGS, Flag
from projections.registry import check_names
from projections.series import Series
from projections.table import BadShape, BrokenFold, Table
from tests.projections.told import AYB, told

FACT = FlagSet(enabled=True, variant="v")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    caller: str
    tenant: str
    id: str
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    tenant: str
    id: str
    version: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    tenant: str
    id: str
    version: int
    facts: int


def counted(row: Counted | None, recorded: Recorded[object]) -> Counted:
    stream = recorded.stream
    return Counted(tenant=stream.tenant, id=stream.id, version=0, facts=1 + (row.facts if row else 0))


class TestTable:
    def test_has_the_key_of_its_stream_or_is_refused(self) -> None:
        with pytest.raises(BadShape, match="must begin with tenant, id, version"):
            Table(name="turns", version=1, room="calls", category="calls", row=Turns, evolve=lambda row, _: row)

    def test_stamps_the_version_so_that_no_fold_can_forget_it(self) -> None:
        table = Table(name="counted", version=1, room="flags", category="flags", row=Counted, evolve=counted)
        row = table.fold(told(StreamId(AYB, "flags", "f"), FACT, FACT, FACT))
        assert row == Counted(tenant=AYB, id="f", version=3, facts=3)

    def test_refuses_a_row_of_another_stream(self) -> None:
        def astray(_row: Flag | None, recorded: Recorded[object]) -> Flag:
            return Flag(tenant=AYB, id="other", version=1, enabled=True, variant="", description="", set_at=recorded.occurred_at)

        table = Table(name="astray", version=1, room="flags", category="flags", row=Flag, evolve=astray)
        with pytest.raises(BrokenFold, match="gave a row for"):
            table.fold(told(StreamId(AYB, "flags", "f"), FACT))


class TestSeries:
    def test_has_the_key_of_its_fact_or_is_refused(self) -> None:
        with pytest.raises(BadShape, match="must begin with tenant, id, version, n, occurred_at"):
            Series(name="moments", version=1, room="calls", category="calls", row=Moment, entries=lambda _: ())  # type: ignore[type-var]


class TestNames:
    def test_are_given_once(self) -> None:
        with pytest.raises(BadShape, match="two projections named flags"):
            check_names([FLAGS, FLAGS])
