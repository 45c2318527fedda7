"""Every process manager there is. Imports every room, for the registry's sake."""

from collections.abc import Sequence
from typing import Any

from commands.rates import RateTable
from stream_processors.consents import HALT_RECORDINGS
from stream_processors.manager import ProcessManager
from stream_processors.usage import record_usage


def managers(tables: Sequence[RateTable]) -> tuple[ProcessManager[Any], ...]:
    """All of them, with the price tables there are."""
    return (HALT_RECORDINGS, record_usage(tables))
