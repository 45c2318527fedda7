"""Partitions that other processes own, followed as they grow."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from commands.ports import Place
from events.admission import Fence
from events.records import AdmittedBatch
from infra.adapters.kafka.reader import KafkaLogReader


class KafkaTails:
    """`commands.routing.ports.Tails`: each reading has two connections of its own, so that waiting for records holds nobody up."""

    def __init__(self, reader: KafkaLogReader) -> None:
        self._reader = reader

    async def follow(self, place: Place, start: tuple[int, Fence]) -> AsyncGenerator[AdmittedBatch, None]:
        async with aclosing(self._reader.batches([place.topic], {place: start}, places=[place])) as batches:
            async for batch in batches:
                yield batch
