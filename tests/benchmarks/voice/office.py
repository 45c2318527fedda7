"""The voice process that the bench measures: a worker with the real detector, the real log and sealed recordings, on free ports.

Says its addresses as a line of JSON, and its facts about turns as another when standard input ends.
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import uvloop
from fastapi import FastAPI
from twilio.request_validator import RequestValidator

from commands.decider import Decider
from commands.dispatch import Committed, Dispatch, Order
from commands.ownership.appending import World
from commands.rooms import DECIDERS
from commands.routing.owners import Owners
from events.calls.ending import CallEnded
from events.calls.talking import AgentTurn, CallerTurn
from events.identifiers import uuid7
from events.rooms import ROOMS, prepared_codec
from events.sealing import KeyRing
from events.streams import PLATFORM, StreamId
from infra.adapters.kafka.schemas import SchemaTopic
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.adapters.kafka.writer import KafkaLog
from infra.adapters.picows_media import MediaServer
from infra.adapters.recording_folder import RecordingFolder
from infra.adapters.silero import SileroVoiceActivity
from infra.apps.listening import listen
from infra.apps.web import serving
from realtime.audio import encode, saturated
from realtime.carrier.reception import Addresses, ReceptionPorts
from realtime.carrier.tokens import Tokens
from realtime.loop.conductor import Engines
from realtime.worker import CallWorker, WorkerPorts, WorkerSettings
from tests.benchmarks.voice.engines import FixedEars, FixedMind, FixedVoice
from tests.realtime.office import AUTH_TOKEN, NUMBER, Desk, Desks
from tests.realtime.world import Carrier, MemoryKeys, PlainTools

QUESTION = "When are you open, please?"


@dataclass(slots=True)
class Kept:
    """Dispatch that keeps the facts about turns that came on the log."""

    dispatch: Dispatch
    keys: KeyRing
    turns: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, order: Order, *, expected_version: int | None = None
    ) -> Committed:
        committed = await self.dispatch(decider, stream, command, order, expected_version=expected_version)
        for recorded in committed.facts:
            self._keep(stream.id, recorded.fact)
        return committed

    def _keep(self, call_id: str, fact: object) -> None:
        match fact:
            case CallerTurn():
                self.turns.append({"call": call_id, "kind": "caller", "turn": fact.turn})
            case AgentTurn():
                latency = fact.latency
                self.turns.append(
                    {
                        "call": call_id, "kind": "agent", "turn": fact.turn, "interrupted": fact.interrupted,
                        "heard": self.keys.open(fact.heard), "said": self.keys.open(fact.said), "started_ms": fact.started_ms,
                        "recognised_ms": latency.recognised_ms, "on_wire_ms": latency.on_wire_ms,
                    }
                )  # fmt: skip
            case CallEnded():
                self.turns.append({"call": call_id, "kind": "end", "reason": fact.reason})
            case _:
                return


def tones() -> bytes:
    """A second of something that is no silence, in mu-law."""
    at = np.arange(8000) / 8000
    return encode(saturated(6000 * np.sin(2 * np.pi * 220 * at) * (1 + np.sin(2 * np.pi * 3 * at))))


async def serve(kafka: str) -> None:
    """Until standard input ends."""
    signer, keys = RequestValidator(AUTH_TOKEN), KeyRing(os.urandom(32), MemoryKeys())
    async with AsyncExitStack() as stack:
        topics = await ensure_topics(kafka, manifests(), "local")
        kafka_log = await stack.enter_async_context(KafkaLog(kafka))
        schemas = SchemaTopic(kafka_log, prepared_codec())
        by_room = {each.room: (each.topic(), topics[each.topic()]) for each in manifests() if each.room in ROOMS}
        world = World(log=kafka_log, schemas=schemas, now_ms=lambda: time.time_ns() // 1_000_000, draw=os.urandom)
        owners = await stack.enter_async_context(Owners(by_room, DECIDERS, schemas.codec, world, address="local"))
        kept = Kept(owners, keys)
        folder = RecordingFolder(Path(stack.enter_context(tempfile.TemporaryDirectory())), keys)
        engines = Engines(
            recogniser=FixedEars(QUESTION), model=FixedMind(), voice=FixedVoice(tones()), activity=SileroVoiceActivity(),
            telephony=Carrier(), recordings=folder, watch=owners.watch,
        )  # fmt: skip
        web, media = listen("127.0.0.1", None), listen("127.0.0.1", None)
        public_url, media_url = (f"{scheme}://127.0.0.1:{at.getsockname()[1]}" for scheme, at in (("http", web), ("ws", media)))
        media_url += "/media"
        reception = ReceptionPorts(
            dispatch=kept, routes=Desks(keys.reference(PLATFORM, NUMBER), Desk()), keyring=keys, tokens=Tokens(os.urandom(32)),
            addresses=Addresses(public_url=public_url, media_url=media_url), now=lambda: datetime.now(UTC), new_call_id=_new_call_id,
        )  # fmt: skip
        worker = CallWorker(
            WorkerPorts(
                engines=engines, reception=reception, tools=lambda *_: PlainTools(), models=lambda _: {"default": "fixed"},
                signed=lambda url, fields, signature: bool(signer.validate(url, dict(fields), signature)),
            ),
            WorkerSettings(name="bench"),
        )  # fmt: skip
        server = MediaServer(worker.accept, path="/media", signed=lambda _: True, counters=Counter())
        await server.start_on(media)
        stack.callback(server.stop)
        app = FastAPI()
        app.include_router(worker.router)
        await stack.enter_async_context(serving(app, web))
        stack.push_async_callback(worker.stop)
        say({"webhook": f"{public_url}/twilio/voice"})
        await asyncio.to_thread(sys.stdin.read)
        await worker.idle()
        say({"turns": kept.turns, "counters": worker.health()})


def say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _new_call_id(_organisation: str) -> str:
    return f"call_{uuid7(time.time_ns() // 1_000_000, secrets.randbits(74)).hex}"


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(serve(sys.argv[1]))
