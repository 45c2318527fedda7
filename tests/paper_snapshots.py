"""Snapshots on paper, kept as the real ones are; they can be away, and be scribbled on."""

from collections.abc import Mapping, Sequence

from commands.ports import LogAway


class PaperSnapshots:
    """`commands.ports.Snapshots`."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.away = False

    async def find(self, keys: Sequence[bytes]) -> Mapping[bytes, bytes]:
        if self.away:
            raise LogAway("paper is away")
        return {key: self.kept[key] for key in keys if key in self.kept}

    async def keep(self, snapshots: Mapping[bytes, bytes]) -> None:
        if self.away:
            raise LogAway("paper is away")
        self.kept.update(snapshots)
