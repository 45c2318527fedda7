"""A log on which its writer dies after so many appends."""

from collections.abc import Sequence

from commands.ports import AppendInDoubt, NewRecord, Place
from infra.adapters.kafka.writer import KafkaLog


class DyingLog(KafkaLog):
    """Of the append after `appends_left` good ones nobody hears whether it arrives: at once (`arrives`), or `on_its_way` for the test."""

    appends_left = 0
    arrives = False
    on_its_way: list[tuple[Place, Sequence[NewRecord]]]

    async def append(self, place: Place, records: Sequence[NewRecord]) -> int:
        self.appends_left -= 1
        if self.appends_left >= 0:
            return await super().append(place, records)
        if self.arrives:
            await super().append(place, records)
        else:
            self.on_its_way.append((place, records))
        raise AppendInDoubt("nobody heard")
