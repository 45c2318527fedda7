"""A voice worker with everything in memory, answering on real sockets; for tests that ring it."""

import asyncio
import os
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from twilio.request_validator import RequestValidator

from commands.rooms import DECIDERS
from commands.spool.spool import Spool, SpoolLimits
from commands.wire import CommandWire
from events.calls.recording import RecordingKept
from events.calls.signals import SignalsKept
from events.identifiers import uuid7
from events.sealing import KeyRing, Sealed
from events.streams import PLATFORM
from infra.adapters.picows_media import MediaServer
from realtime.carrier.admission import Door
from realtime.carrier.media_socket import MediaSocket, Transport
from realtime.carrier.moving import lives_for_all_we_know
from realtime.carrier.ports import LiveCarrier
from realtime.carrier.reception import Addresses, ReceptionPorts
from realtime.carrier.tokens import Tokens
from realtime.control.ports import CapturedDigits
from realtime.loop.conductor import Engines
from realtime.loop.observing import Observer, Observing, Watched
from realtime.ports import RecordedStretch, Telephony
from realtime.recording import pieces
from realtime.rerun.keeping import Keeper, KeepingPorts
from realtime.rerun.rerunning import run_again
from realtime.rerun.runs import load, understood
from realtime.worker import CallWorker, WorkerPorts, WorkerSettings
from tests.commands.spool.disk import MemoryDisk
from tests.realtime.world import (
    Carrier,
    LevelActivity,
    MemoryLog,
    MemorySignals,
    Mind,
    PlainTools,
    PlainVoice,
    Shelf,
    TextEars,
    Thoughts,
    keyring,
)

INCARNATION = "1764-ab"
AUTH_TOKEN = "an-auth-token-that-is-made-up"
ORGANISATION = "AYB-0000-0000-0000"
NUMBER, CALLER = "+15550100", "+15550199"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A Route."""

    organisation_id: str = ORGANISATION
    organisation_name: str = "Smile Dental"
    agent_id: str = "agt_1"
    agent_version: str = "1"
    version_hash: str = "hash"
    configuration: Mapping[str, Any] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    environment: str = ""


@dataclass(slots=True)
class Desks:
    """Routes: one number, one desk."""

    number_ref: str
    desk: Desk
    former: tuple[Desk, ...] = ()

    def route(self, number_ref: str) -> Desk | None:
        return self.desk if number_ref == self.number_ref else None

    def publish(self, desk: Desk, *, forget: bool = False) -> None:
        self.former = () if forget else (*self.former, self.desk)
        self.desk = desk

    def configuration(self, organisation_id: str, agent_id: str, version_hash: str) -> Mapping[str, Any] | None:
        known = [desk for desk in (self.desk, *self.former) if desk.organisation_id == organisation_id and desk.agent_id == agent_id]
        return next((desk.configuration for desk in known if desk.version_hash == version_hash), None)


@dataclass(slots=True, kw_only=True)
class Office:
    """What a test may look at and meddle with."""

    log: MemoryLog
    keys: KeyRing
    ears: TextEars
    voice: PlainVoice
    mind: Mind
    tools: PlainTools
    carrier: Carrier
    shelf: Shelf
    public_url: str
    address: tuple[str, int]
    desks: Desks
    media_url: str = ""
    worker: CallWorker = None  # type: ignore[assignment] # set before the office opens
    door: Counter[str] = field(default_factory=Counter)
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    spool: Spool = None  # type: ignore[assignment] # set before the office opens
    signals: MemorySignals = field(default_factory=MemorySignals)
    proofs: list[SignalsKept] = field(default_factory=list)

    @property
    def webhook(self) -> str:
        return f"{self.public_url}/twilio/voice"

    def accept(self, transport: Transport) -> MediaSocket:
        return self.worker.accept(transport)

    def keep(self, watched: Watched) -> Observer:
        """Every call of a test is kept, and run again when the office closes; what the log would be told is with the office."""
        ports = KeepingPorts(store=self.signals, keyring=self.keys, program="tests", every_seconds=0.5)
        return Keeper(replace(watched, witness=lambda fact: self.proofs.append(cast(SignalsKept, fact))), ports)

    async def run_again(self) -> None:
        """Every call of this office does again what it did."""
        for call_id in {name.partition("/")[0] for name in self.signals.objects}:
            told = [fact for fact in self.proofs if fact.name.startswith(call_id)]
            for kept in await load(self.signals, self.keys, call_id, told):
                assert run_again(kept, understood(kept, self.keys)).difference is None

    def tape(self) -> list[RecordedStretch]:
        """What was kept, piece by piece, each as its fact says."""
        told = {fact.object: fact for fact in self.log.facts("calls") if isinstance(fact, RecordingKept)}
        kept = [pieces.unsealed(content, name, self.keys) for name, content in sorted(self.shelf.objects.items())]
        assert sorted(told) == sorted(self.shelf.objects)
        assert [pieces.digest_of(content) for _, content in sorted(self.shelf.objects.items())] == [
            told[name].digest for name in sorted(told)
        ]
        return kept

    def opened(self, sealed: Sealed[str]) -> str:
        return self.keys.open(sealed)


@asynccontextmanager
async def open_office(  # noqa: PLR0913 - each is a part of the world that a test may bring
    thoughts: Thoughts,
    *,
    tools: PlainTools | None = None,
    desk: Desk | None = None,
    settings: WorkerSettings | None = None,
    log: MemoryLog | None = None,
    keys: KeyRing | None = None,
    observing: tuple[Observing, ...] = (),
    digits: CapturedDigits | None = None,
    telephony: Telephony | None = None,
    resumes: bool = False,
    door: Door | None = None,
    behind: str | None = None,
    live_carrier: LiveCarrier | None = None,
    lives: Callable[[str], Awaitable[bool]] = lives_for_all_we_know,
    answer_within_seconds: float = 1.0,
) -> AsyncIterator[Office]:
    """The doors are open when it begins, and everything is let go of at its end. `answer_within_seconds`: a ring, or the log is away."""
    listening = socket.create_server(("127.0.0.1", 0))
    public_url = behind or f"http://127.0.0.1:{listening.getsockname()[1]}"
    signer, keys, log = RequestValidator(AUTH_TOKEN), keys or keyring(), log or MemoryLog()
    office = Office(
        log=log, keys=keys, ears=TextEars(), voice=PlainVoice(), mind=Mind(thoughts), tools=tools or PlainTools(),
        carrier=Carrier(), shelf=Shelf(), desks=Desks(keys.reference(PLATFORM, NUMBER), desk or Desk()),
        public_url=public_url, address=("127.0.0.1", listening.getsockname()[1]),
    )  # fmt: skip
    media = MediaServer(
        office.accept, path="/media",
        signed=lambda signature: bool(signer.validate(office.media_url, {}, signature)), counters=office.door,
    )  # fmt: skip
    office.media_url = f"ws://127.0.0.1:{await media.start('127.0.0.1', 0)}/media"
    engines = Engines(
        recogniser=office.ears, model=office.mind, voice=office.voice, activity=LevelActivity(),
        telephony=telephony or office.carrier, digits=digits,
        recordings=office.shelf, watch=log.watch, observing=(office.keep, *observing),
    )  # fmt: skip
    reception = ReceptionPorts(
        dispatch=log, routes=office.desks, keyring=keys, tokens=Tokens(os.urandom(32)),
        addresses=Addresses(public_url=public_url, media_url=office.media_url), now=lambda: datetime.now(UTC),
        new_call_id=lambda _organisation: f"call_{uuid7(int(datetime.now(UTC).timestamp() * 1000), secrets.randbits(74)).hex}",
        answer_within_seconds=answer_within_seconds,
    )  # fmt: skip
    office.spool = Spool(office.disk, CommandWire(DECIDERS), INCARNATION, Counter(), limits=SpoolLimits(retry_seconds=0.01))
    writing = asyncio.create_task(office.spool.run(), name="spool")
    office.worker = CallWorker(
        WorkerPorts(
            engines=engines, reception=reception, tools=lambda _organisation, _configuration: office.tools,
            models=lambda _configuration: {"default": "model-default", "fast": "model-fast"},
            signed=lambda url, fields, signature: bool(signer.validate(url, dict(fields), signature)), spool=office.spool,
            history=log.history if resumes else None, others=lambda: behind is not None, door=door or Door(),
            carrier=live_carrier, lives=lives,
        ),
        settings or WorkerSettings(name="office"),
    )  # fmt: skip
    web = FastAPI()
    web.include_router(office.worker.router)
    server = uvicorn.Server(uvicorn.Config(web, log_config=None, log_level="error", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="web")
    try:
        yield office
    finally:
        await office.worker.stop()
        writing.cancel()
        media.stop()
        server.should_exit = True
        await serving
    await office.run_again()
