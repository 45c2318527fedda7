"""How far the tables are behind the log, for `/health`, `aybiza status` and the collector of figures."""

import asyncio
from collections.abc import Mapping, Sequence

from commands.ports import LogAway
from events.rooms import ROOMS
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.postgres.progress import Progress
from projections.ports import TopicOf
from projections.queries import RowsUnavailable

_LOOK_SECONDS = 1.0


class LagUnknown(Exception):
    """The log or the tables do not answer; the text says which."""


async def lag_by_topic(reader: KafkaLogReader, progress: Progress, topic_of: TopicOf = topic_of) -> Mapping[str, int]:
    """By topic, how many records the slowest of the projections that `progress` looks at has still to take. Raises LagUnknown."""
    topics: Sequence[str] = [topic_of(room) for room in ROOMS]
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            # The tables first: what is appended meanwhile is behind, not ahead.
            reached = await progress.read()
            ends = await reader.end_offsets(topics)
    except (LogAway, OSError, RowsUnavailable, TimeoutError) as cause:
        raise LagUnknown(str(cause) or "there was no answer in time") from cause
    lag = dict.fromkeys(topics, 0)
    for (topic, partition), end in ends.items():
        lag[topic] += max(0, end - reached.get((topic, partition), (0, None))[0])
    return lag
