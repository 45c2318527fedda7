"""A journal on paper, over a paper log: as far behind as a test wants, or away."""

from collections.abc import Mapping

from commands.ports import Begun, History, HistoryAway, HistoryDamaged, Place, Reached, Remembered, Since
from events.admission import UNCLAIMED, admit
from events.headers import Kind
from events.records import RawRecord
from tests.paper_log import PaperKafka


class PaperJournal:
    """`commands.ports.Histories`, held to the same contract as the real one.

    `stops_at`: it has come no further (None: it is always at the end). `loads` says what was asked for.
    """

    def __init__(self, kafka: PaperKafka) -> None:
        self.away = False
        self.damaged = False
        self.stops_at: int | None = None
        self.loads: list[Mapping[bytes, Since]] = []
        self.asked: list[bytes] = []
        self.told_from: list[int] = []
        self._kafka = kafka

    async def reached(self, place: Place) -> Reached:
        if self.away:
            raise HistoryAway("paper is away")
        records = self._kafka.partition(place).records
        fence, offset, timestamp_ms = UNCLAIMED, len(records) if self.stops_at is None else self.stops_at, 0
        for raw in records[:offset]:
            fence, _ = admit(fence, raw.header)
            timestamp_ms = raw.timestamp_ms
        return Reached(offset, fence, timestamp_ms)

    async def load(self, place: Place, since: Mapping[bytes, Since]) -> History:
        self.loads.append(dict(since))
        reached = await self.reached(place)
        if self.damaged:
            raise HistoryDamaged("somebody wrote on the paper")
        found: dict[bytes, list[RawRecord]] = {}
        for raw in self._kafka.partition(place).admitted():
            if raw.key in since and since[raw.key].offset < raw.offset < reached.offset:
                found.setdefault(raw.key, []).append(raw)
        return History(reached, {key: [raw for raw in raws if _is_kept(raw)] for key, raws in found.items()})

    async def begun(self, place: Place, start: int, stop: int, most: int) -> Begun:
        self.told_from.append(start)
        reached = await self.reached(place)
        stop = min(stop, reached.offset)
        piece = [raw for raw in self._kafka.partition(place).admitted() if start <= raw.offset < stop][:most]
        return Begun([raw.key for raw in piece if _begins(raw)], piece[-1].offset + 1 if len(piece) == most else stop)

    async def answered(self, place: Place, key: bytes, command_id: bytes) -> Remembered:
        self.asked.append(command_id)
        reached, last = await self.reached(place), None
        for raw in self._kafka.partition(place).admitted():
            if raw.offset < reached.offset and raw.key == key and raw.header is not None and raw.header.command_id == command_id:
                last = raw
        return Remembered(reached, last)


def _is_kept(raw: RawRecord) -> bool:
    return raw.header is not None and raw.header.kind in {Kind.EVENT, Kind.RECEIPT}


def _begins(raw: RawRecord) -> bool:
    return raw.header is not None and (raw.header.kind, raw.header.version) in {(Kind.EVENT, 1), (Kind.RECEIPT, 0)}
