"""Counts over time as they were: of what had been appended by then, whether the journal has packed it since or not."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from events.records import RawRecord, appended_at
from events.rooms import ROOMS
from events.streams import StreamId
from infra.adapters.postgres import journal as journal_module
from infra.adapters.postgres import packing, parts
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.packing import pack
from infra.adapters.postgres.store import PostgresStore
from infra.adapters.postgres.walls import behind_the_wall
from projections.journal import JOURNAL
from projections.measures import TURN_MEASURES
from projections.queries import Then, TooMuch, asked_for
from projections.runner import Runner
from tests.projections.facts import agent_turn
from tests.projections.paper import PaperReader
from tests.projections.told import AYB, DAY

OTHER = "AYB-2222-2222-2222"
CALLS = [StreamId(tenant, "calls", f"call_{number}") for number in range(6) for tenant in (AYB, OTHER)]
SPAN = {"per": "minute", "begins": DAY, "ends": DAY + timedelta(days=1), "limit": 1000}


def by_hand(records: list[RawRecord], then: Then) -> Counter[datetime]:
    """Answers of one organisation's calls a minute, of those that were there."""
    found: Counter[datetime] = Counter()
    for raw in records:
        reached = then.reach.get((raw.topic, raw.partition))
        if not raw.key.startswith(f"{AYB}/calls/".encode()) or not raw.header:
            continue
        if raw.offset < reached if reached is not None else appended_at(raw.timestamp_ms) <= then.at:
            at = datetime.fromtimestamp(raw.header.occurred_at_us / 1e6, UTC)
            found[at.replace(second=0, microsecond=0)] += 1
    return found


class TestCountsThen:
    async def test_are_of_what_had_been_appended_packed_or_not(self, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "OFFSETS", 64)
        monkeypatch.setattr(packing, "RECORDS_OF_A_PIECE", 16)
        log = PaperReader(seed=3, largest_batch=40)
        for number in range(300):
            log.append(CALLS[number * 5 % len(CALLS)], agent_turn(number))
        records = sorted(log.all_records(), key=lambda raw: raw.timestamp_ms)
        moments = [Then(appended_at(records[at].timestamp_ms)) for at in (0, 90, 250, 299)]
        cut = records[120]
        moments.append(Then(appended_at(cut.timestamp_ms), {(cut.topic, cut.partition): cut.offset + 1}))
        async with connected(database, purpose="test", durable=False) as pool, behind_the_wall(database, most=1) as wall:
            await Runner(log, PostgresStore(pool), [JOURNAL, TURN_MEASURES], journal_rooms=ROOMS).run(stop_at_end=True)
            asked_for.set(AYB)
            journal = PostgresJournal(wall, log.codec)
            for cold in (0, 1):
                if cold:
                    await pack(pool, JOURNAL, f"{cut.topic}/0", lambda _part, _words: None)
                for then in moments:
                    counts, last = await journal.counts_then(TURN_MEASURES, AYB, then, **SPAN)  # type: ignore[arg-type]
                    expected = by_hand(records, then)
                    assert {each["bucket"]: each["entries"] for each in counts} == dict(expected)
                    # An organisation's own, so nothing of others' is in it.
                    assert last is not None or not expected
                ((_, none),) = [await journal.counts_then(TURN_MEASURES, OTHER, moments[-1], **SPAN)]  # type: ignore[arg-type]
                assert none is None
            monkeypatch.setattr(journal_module, "_MOST_ENTRIES", 10)
            with pytest.raises(TooMuch):
                await journal.counts_then(TURN_MEASURES, AYB, moments[-1], **SPAN)  # type: ignore[arg-type]
