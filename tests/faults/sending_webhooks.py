"""A program that sends webhooks until it is killed: `python -m tests.faults.sending_webhooks KAFKA PREFIX URL KEY_FILE [careless]`.

`careless`: what was only begun counts as taken, which a receiver that is slow at the wrong moment pays for.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from commands.webhooks import AddWebhook
from events.admission import Fence
from events.flags import FlagSet
from events.streams import StreamId
from infra.adapters import webhook_post
from infra.adapters.keyfile import open_key_ring
from infra.apps.webhooks import Sending, running_webhooks
from stream_processors.webhooks.ports import Answer, Message, Post
from tests.projections.log import open_log
from tests.projections.told import AYB

EVENTS = 140
SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"


async def nowhere() -> Mapping[tuple[str, int], tuple[int, Fence]]:
    return {}


@asynccontextmanager
async def careless_post(*given: Any, **named: Any) -> AsyncIterator[Post]:
    async with webhook_post.opened_post(*given, **named) as post, asyncio.TaskGroup() as tasks:

        async def send(url: str, message: Message) -> Answer:
            tasks.create_task(post(url, message))
            return Answer(took_ms=0, status=200)

        yield send


async def main(kafka: str, prefix: str, url: str, key_file: str, how: str = "careful") -> None:
    opened = careless_post if how == "careless" else webhook_post.opened_post
    ring, store = open_key_ring(Path(key_file))
    async with open_log(kafka, prefix) as log:
        sealed = ring.seal_bytes(AYB, SECRET.encode())
        await log.do(StreamId(AYB, "webhooks", "webhook_1"), AddWebhook(url=url, types=("flag-set",), description="", secret=sealed))
        for at in range(EVENTS):
            await log.append(StreamId(AYB, "flags", f"flag{at}"), FlagSet(enabled=True, variant="on"))
        sending = Sending(keyring=ring, private=True, opened=opened)
        async with running_webhooks(log.reader, log.dispatch, nowhere, sending, topic_of=log.topic_of):
            await asyncio.Event().wait()
    store.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
