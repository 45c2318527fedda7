"""What a benchmark says: a table for people on standard error, a line of JSON for each figure on standard output."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value. `better`: `lower` or `higher`; `reference` names what `reference_value` was measured on."""

    figure: str
    value: float | None
    unit: str
    better: str
    target: float | None = None
    reference: str | None = None
    reference_value: float | None = None


def tell(bench: str, figures: Sequence[Figure], **more: Any) -> None:
    """The lines of JSON alone, at once: a long measuring that is broken off has said what it knew."""
    for each in figures:
        sys.stdout.write(json.dumps({"bench": bench} | asdict(each) | more) + "\n")
    sys.stdout.flush()


def show(bench: str, title: str, figures: Sequence[Figure], *, told: bool = False, **more: Any) -> None:
    """`more`: what was measured under which circumstances; it goes into every line. `told`: the lines were said already."""
    table = Table(title=f"{bench}: {title}")
    for heading in ("figure", "value", "target", "reference"):
        table.add_column(heading)
    for each in figures:
        reference = "" if each.reference is None else f"{_plain(each.reference_value)} ({each.reference})"
        table.add_row(each.figure, f"{_plain(each.value)} {each.unit}", _plain(each.target), reference)
    Console(stderr=True).print(table)
    if not told:
        tell(bench, figures, **more)


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:,}"
