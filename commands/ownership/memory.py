"""How much owners keep in memory: the bounds of a process, which its partitions share, and how one of them stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Loaded streams, commands with their answers and names of streams, of all partitions together; raw records, for each partition.

    Measured, a stream takes 0.8 kB and its state, a command 0.2 kB, a name 9.4 bytes: these bounds are some 640 MB. The first two may be
    passed by an eighth while the journal has not seen what would be forgotten.
    """

    streams: int = 500_000
    commands: int = 1_000_000
    names: int = 4_000_000
    tail: int = 20_000


DEFAULT_BOUNDS = Bounds()


class Room:
    """What the partitions of one process take up together."""

    __slots__ = ("bounds", "commands", "names", "streams")

    def __init__(self, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self.bounds = bounds
        self.streams = 0
        self.commands = 0
        self.names = 0

    @property
    def crowded(self) -> bool:
        """Whether those that use little have to make room: now and then, each by its turn."""
        return self.streams > self.bounds.streams or self.commands > self.bounds.commands

    @property
    def pressed(self) -> bool:
        """Whether that was not enough, so that whoever brings something in puts something out."""
        return self.streams * 16 > self.bounds.streams * 17 or self.commands * 16 > self.bounds.commands * 17

    @property
    def overfull(self) -> bool:
        """Whether room has to be made at the expense of what the journal has not seen."""
        return self.streams * 8 > self.bounds.streams * 9 or self.commands * 8 > self.bounds.commands * 9


class Memory(NamedTuple):
    """What an owner has in memory, and what came and went: `evicted` streams, `loads` by where from, `snapshots` kept and ignored.

    `names`: of streams that are not in memory, by which a new one is known.
    """

    streams: int
    commands: int
    tail_records: int
    horizon: int
    evicted: int
    names: int
    loads: Mapping[str, int]
    snapshots: Mapping[str, int]
