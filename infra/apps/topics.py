"""`aybiza topics`: the topics of the log, and the next generation of one."""

import os
import time
from contextlib import AsyncExitStack

import typer

from commands.ports import HistoryLost, LogAway
from events.rooms import ROOMS, prepared_codec
from infra.adapters.kafka.copying import BATCH_BYTES, CannotGrow, Hands
from infra.adapters.kafka.growing import Generations, grow
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import TopicsRefused, ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.apps.brokers import security_of
from infra.apps.cli import asynchronous
from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed, results
from infra.apps.whereabouts import processes
from infra.settings import Settings, load_settings

topics = typer.Typer(help="The topics of the log.", no_args_is_help=True)


@topics.callback()
def _topics() -> None:
    """So that a single verb keeps its name."""


@topics.command("grow")
@asynchronous
async def grow_topic(room: str) -> None:
    """Copy a room's topic to its next generation, which its manifest names, and close the old one for ever. May be repeated."""
    settings = load_settings()
    if running := processes(settings.state_dir):
        raise VerbFailed(f"The platform runs ({', '.join(f'{each.role}, process {each.pid}' for each in running)}). Stop it first")
    try:
        results.print(await _grow(settings, room))
    except (CannotGrow, TopicsRefused, LogAway, HistoryLost) as error:
        raise VerbFailed(str(error)) from error


async def _grow(settings: Settings, room: str) -> str:
    manifest = next((each for each in manifests() if each.room == room and room in ROOMS), None)
    if manifest is None:
        raise VerbFailed(f"There is no room {room}. Rooms are: {', '.join(ROOMS)}")
    _, old = manifest.previous()
    if not old:
        raise VerbFailed(
            f"{manifest.topic()} is the first generation. Raise generation and partitions in schemas/topics/{room}.json, and say the "
            "generation in events/streams.py"
        )
    kafka = (await addresses_of(settings, "kafka")).kafka
    security, writers = security_of(settings), settings.log_writers.split(",")
    counts = await ensure_topics(kafka, [manifest], settings.surroundings, writers=writers, growing=True, security=security)
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(KafkaLog(kafka, batch_bytes=BATCH_BYTES, security=security))
        schemas = SchemaTopic(log, prepared_codec())
        reader = KafkaLogReader(kafka, schemas, security=security)
        ends = await reader.end_offsets([old])
        generations = Generations(old=old, old_partitions=len(ends), new=manifest.topic(), new_partitions=counts[manifest.topic()])
        hands = Hands(kafka=log, codec=schemas.codec, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        copied = await grow(generations, hands, reader, schemas)
    what = ", ".join(f"{count} {kind}s" for kind, count in sorted(copied.items())) or "nothing that was not there"
    return f"{old} is closed; {generations.new} has {generations.new_partitions} partitions and took over {what}. Type: aybiza rebuild"
