"""Rows go into columns and come back the same, and the same row always gives the same bytes."""

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.sealing import Sealed
from projections.calls import TimelineEntry
from projections.columns import UnsupportedColumn, build_sealed, building, canonical, columns_of, lower_sealed, lowering
from projections.partial import PartialAggregate
from projections.registry import LIVE, PARTIAL, SERIES, TABLES
from projections.series import Series
from projections.table import Table
from tests.instances import instances

Shape: TypeAlias = Table[Any] | PartialAggregate[Any, Any] | Series[Any]
SHAPES: list[Shape] = [*TABLES, *SERIES, *(live.table for live in LIVE), *PARTIAL, *(each.memories for each in PARTIAL)]


@dataclass(frozen=True)
class Unsupported:
    tenant: str
    what: set[str]


class TestColumns:
    @pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
    @given(data=st.data())
    def test_bring_every_row_back_which_gives_the_same_bytes_again(self, shape: Shape, data: st.DataObject) -> None:
        row = data.draw(instances(shape.row))
        lower, build = lowering(shape.columns), building(shape.row, shape.columns)
        stored = lower(row)
        back = build(dict(zip((column.name for column in shape.columns), stored, strict=True)))
        assert back == row
        assert lower(back) == stored

    @given(data=st.data())
    def test_spell_a_record_as_canonical_json(self, data: st.DataObject) -> None:
        row = data.draw(instances(TimelineEntry))
        latency, spent = [
            lowered
            for column, lowered in zip(columns_of(TimelineEntry), lowering(columns_of(TimelineEntry))(row), strict=True)
            if column.name in {"latency", "spent"}
        ]
        assert latency == (None if row.latency is None else canonical(asdict(row.latency)))
        assert spent == (None if row.spent is None else canonical(asdict(row.spent)))

    @given(st.builds(Sealed, st.text(max_size=100), st.binary(max_size=100)))
    def test_keep_a_sealed_value_whole(self, sealed: Sealed[str]) -> None:
        assert build_sealed(lower_sealed(sealed)) == sealed

    def test_say_which_field_they_cannot_keep(self) -> None:
        with pytest.raises(UnsupportedColumn, match=r"Unsupported\.what"):
            columns_of(Unsupported)
