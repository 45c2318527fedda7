"""Who sends webhooks is killed in the middle of it: another goes on, and nothing is lost."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from events.rooms import prepared_codec
from events.webhooks import WebhookDeliveriesMade
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.keyfile import open_key_ring
from infra.apps.webhooks import Sending, running_webhooks
from tests.faults.sending_webhooks import EVENTS, nowhere
from tests.projections.log import open_log
from tests.stream_processors.receiving import receiver, takes


async def reported(reader: KafkaLogReader, prefix: str) -> int:
    """How many events the log says were taken."""
    found = 0
    async for batch in reader.batches([f"{prefix}.webhooks.v1"], {}, stop_at_end=True):
        facts = [reader.codec.decode(raw.value) for raw in batch.records if raw.value and raw.ce_type.startswith("webhook-deliveries")]
        found += sum(fact.delivered for fact in facts if isinstance(fact, WebhookDeliveriesMade))
    return found


class TestSenderKilledInTheMiddle:
    @pytest.mark.parametrize(("how", "taken_before"), [("careful", 116), ("careless", 50)])
    async def test_is_followed_by_one_who_loses_nothing(self, kafka: str, unique: str, tmp_path: Path, how: str, taken_before: int) -> None:
        key_file = tmp_path / "wrapping.key"
        async with receiver() as receiving:

            async def hangs_later(request: web.Request, event: dict[str, Any]) -> web.Response:
                if len(receiving.taken) >= taken_before:
                    await asyncio.Event().wait()
                return await takes(request, event)

            receiving.behaves = hangs_later
            program = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults.sending_webhooks", kafka, unique, receiving.url, str(key_file), how
            )
            try:
                async with asyncio.timeout(120):
                    await receiving.until(lambda: len(receiving.taken) >= taken_before and len(receiving.asked) > taken_before)
                    async with KafkaLog(kafka) as link:
                        reader = KafkaLogReader(kafka, SchemaTopic(link, prepared_codec(), f"{unique}.schemas"))
                        while await reported(reader, unique) < 100:
                            await asyncio.sleep(0.1)
            finally:
                program.kill()
                await program.wait()
            receiving.behaves = takes
            before = len(receiving.taken)
            ring, store = open_key_ring(key_file)
            async with open_log(kafka, unique) as log:
                left = EVENTS - await reported(log.reader, unique)
                sending = Sending(keyring=ring, private=True)
                async with running_webhooks(log.reader, log.dispatch, nowhere, sending, topic_of=log.topic_of):
                    await receiving.until(lambda: len(receiving.taken) - before >= left)
            store.close()
        # It went on from what was on the log, under the same names.
        assert 0 < left <= EVENTS - 100
        assert len(receiving.taken) - before == left
        names = {event["id"] for _, event in receiving.taken}
        # What was only begun is lost where that counts as taken: the test can tell.
        assert (len(names) == EVENTS) == (how == "careful")
