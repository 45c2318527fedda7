"""`aybiza journal`: an operator sees the parts of the journal, and packs those that are cold."""

import asyncio
import json
import subprocess

import pytest

from events.flags import FlagSet
from events.rooms import ROOMS
from events.streams import StreamId, topic_of
from infra.adapters.postgres import parts
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.journal import PostgresJournal
from infra.adapters.postgres.store import PostgresStore
from infra.settings import Settings
from projections.journal import JOURNAL
from projections.runner import Runner
from tests.infra.apps.command import aybiza
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

TOPIC = topic_of("flags")


@pytest.fixture
def parts_of_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "OFFSETS", 64)


@pytest.mark.usefixtures("parts_of_64", "kafka")
class TestVerb:
    async def asked(self, settings: Settings, database: str, *words: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(aybiza, "journal", *words, state_dir=settings.state_dir, DATABASE_URL=database)

    async def test_packs_what_is_cold_and_nothing_else(self, settings: Settings, database: str) -> None:
        log = PaperReader(partitions=1)
        for number in range(150):
            log.append(StreamId(AYB, "flags", f"flag-{number % 9}"), FlagSet(enabled=True, variant=f"variant {number}"))
        async with connected(database, purpose="test", durable=False) as pool:
            await Runner(log, PostgresStore(pool), [JOURNAL], journal_rooms=ROOMS).run(stop_at_end=True)
            before = await PostgresJournal(pool, log.codec).events_after(TOPIC, 0, -1, limit=500)
            refused = await self.asked(settings, database, "pack", f"{TOPIC}/2")
            assert refused.returncode == 1
            assert "is not cold" in refused.stderr
            packed = json.loads((await self.asked(settings, database, "pack", "--json")).stdout)
            assert [(each["part"], each["records"]) for each in packed] == [(f"{TOPIC}/0", 63), (f"{TOPIC}/1", 64)]
            assert all(each["bytes"] < each["bytes_before"] for each in packed)
            shown = (await self.asked(settings, database, "parts")).stdout
            assert [line.split()[-1] for line in shown.splitlines() if line.startswith(TOPIC)] == ["packed", "packed", "live"]
            assert await PostgresJournal(pool, log.codec).events_after(TOPIC, 0, -1, limit=500) == before
            assert len(before) == 150
