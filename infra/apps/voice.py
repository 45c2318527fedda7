"""The voice worker, wired: the carrier's webhooks and media sockets, the engines, and the way of a call's facts to the log."""

import os
import platform as machine
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from commands.calls.deciding import CALLS
from commands.rates import NoRateTable, RateTable, in_force
from commands.routing.owners import Owners
from events.identifiers import uuid7
from events.streams import topic_of
from infra.adapters.call_history import LogHistory
from infra.adapters.captured_digits import DigitVault
from infra.adapters.json_schema import ArgumentChecks
from infra.adapters.picows_media import MediaServer
from infra.adapters.postgres.calls_under_way import PostgresCallsUnderWay
from infra.adapters.postgres.connections import connected
from infra.adapters.postgres.history import PostgresHistories
from infra.adapters.rate_tables import read_rate_tables
from infra.adapters.redis_places import opened_places
from infra.adapters.twilio import SignatureCheck, TwilioTelephony
from infra.apps.alongside import alongside
from infra.apps.engines import Engines, opened_engines
from infra.apps.footing import Footing
from infra.apps.listening import listen
from infra.apps.signals import kept_signals
from infra.apps.spooling import running_spool
from infra.apps.telemetry import running_telemetry
from infra.settings import Settings
from projections.directory import Directory, Route
from realtime.carrier.admission import Door
from realtime.carrier.lookout import Lookout, Watchfulness
from realtime.carrier.moving import named
from realtime.carrier.reception import Addresses, ReceptionPorts
from realtime.carrier.tokens import Tokens
from realtime.loop import conductor
from realtime.machine import briefing as briefings
from realtime.ports import EngineUnavailable
from realtime.speaking.prepared import Prepared
from realtime.speaking.pronouncing import spoken
from realtime.speaking.tongues import tongues
from realtime.worker import CallWorker, WorkerPorts, WorkerSettings

log = structlog.get_logger()

_MEDIA_PATH = "/media"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What answers calls. `worker.router` is for the web application, and `worker.stop` before it stops."""

    worker: CallWorker
    engines: Engines


@asynccontextmanager
async def running_voice(footing: Footing, owners: Owners, directory: Directory, url: str) -> AsyncIterator[Voice]:
    """Media sockets are taken within. `url`: where the webhooks listen. Raises EngineUnavailable, KeyMissing or AddressUnavailable."""
    async with AsyncExitStack() as stack:
        settings, installation = footing.settings, footing.installation
        engines = await stack.enter_async_context(opened_engines(settings, installation))
        public_url = (settings.public_url or url).rstrip("/")
        listening = listen(settings.media_host, settings.media_port, setting="AYBIZA_MEDIA_PORT")
        stack.callback(listening.close)
        media_url = _media_url(settings, public_url, listening.getsockname()[1])
        reception = ReceptionPorts(
            dispatch=owners, routes=directory, keyring=installation.key_ring, tokens=Tokens(installation.token_secret),
            addresses=Addresses(public_url=public_url, media_url=media_url), now=lambda: datetime.now(UTC),
            new_call_id=lambda organisation: owners.mint(CALLS.room, organisation, CALLS.category, _new_call_id),
        )  # fmt: skip
        prepared, seen = Prepared(engines.voice), await stack.enter_async_context(running_telemetry(settings))
        keeps = kept_signals(footing.objects.signals, installation.key_ring, afar=settings.recordings_bucket is not None)
        call_engines = conductor.Engines(
            recogniser=engines.recogniser, model=engines.model, voice=engines.voice, activity=engines.activity,
            telephony=engines.telephony, recordings=footing.objects.recordings,
            prepared=prepared, watch=owners.watch, digits=DigitVault(), prices=_list_prices(),
            checks=lambda specs: ArgumentChecks(specs).faults,
            observing=(keeps, *seen.observing),
        )  # fmt: skip
        signed = SignatureCheck(installation.twilio_auth_token)
        spool = await stack.enter_async_context(running_spool(settings, owners))
        door = Door(engines.admission, time.thread_time)
        await stack.enter_async_context(alongside({"look after the load": door.run}))
        # Without the journal a call's facts are read from the log, from where the call began.
        pool = await stack.enter_async_context(connected(footing.services.postgres, purpose="history", least=0))
        history = LogHistory(footing.kafka, PostgresHistories(pool), footing.schemas, footing.schemas.codec)
        ports = WorkerPorts(
            engines=call_engines, reception=reception, tools=engines.tools, models=engines.models, signed=signed, spool=spool,
            history=history if settings.resume_calls else None,
            others=lambda: _others(owners), door=door, lives=owners.lives,
            carrier=engines.telephony if isinstance(engines.telephony, TwilioTelephony) else None,
        )  # fmt: skip
        name = named(machine.node(), owners.address, os.getpid())
        if engines.admission.limit is not None:
            places = await stack.enter_async_context(opened_places(footing.services.redis, name))
            await stack.enter_async_context(alongside({"count places together": lambda: engines.admission.count_with(places)}))
        worker = CallWorker(ports, WorkerSettings(name=name, drain_within_seconds=settings.drain_seconds))
        seen.workers.append(worker)
        media = MediaServer(
            worker.accept, path=_MEDIA_PATH, signed=lambda signature: signed(media_url, {}, signature), counters=worker.counters
        )  # fmt: skip
        await media.start_on(listening)
        stack.callback(media.stop)
        await stack.enter_async_context(
            alongside({"prepare engines for agents": lambda: _prepare(engines, prepared if settings.speak_ahead else None, directory)})
        )
        if worker.moving is not None:
            lookout = Lookout(
                moving=worker.moving, under_way=PostgresCallsUnderWay(pool), owns=owners.owns, owned=lambda: _owned(owners),
                now=reception.now, watchfulness=Watchfulness(every_seconds=settings.lookout_seconds),
            )  # fmt: skip
            await stack.enter_async_context(alongside({"look for calls without a worker": lookout.run}))
        yield Voice(worker=worker, engines=engines)


def _list_prices() -> RateTable | None:
    """Those of today, for the caps on what a call may cost."""
    try:
        return in_force(read_rate_tables(), datetime.now(UTC).date())
    except NoRateTable:
        return None


async def _prepare(engines: Engines, prepared: Prepared | None, directory: Directory) -> None:
    """What is live now, and then each version as it is published, and each number as somebody answers it."""
    await directory.caught_up.wait()
    known: set[str] = set()
    ahead: set[tuple[str, str, frozenset[tuple[str, str]]]] = set()
    while True:
        for route in directory.routes():
            greeted = (route.version_hash, route.organisation_name, frozenset(route.flags.items()))
            if prepared is not None and greeted not in ahead and await _speak_ahead(prepared, route):
                ahead.add(greeted)
        fresh = {name: each for name, each in directory.configurations().items() if name not in known}
        for version_hash, configuration in fresh.items():
            await engines.prepare(configuration)
            known.add(version_hash)
        if not fresh:
            await directory.moved()


async def _speak_ahead(prepared: Prepared, route: Route) -> bool:
    """What a call to this number begins with; returns whether it is at hand."""
    words = briefings.wording(route.configuration, route.organisation_name, route.flags)
    asks = bool(briefings.section(route.configuration, "recording").get("ask", True))
    try:
        for tongue in tongues(route.configuration, words, briefings.pronunciation(route.configuration)).values():
            texts = [spoken(text, tongue.pronunciation) for text in briefings.said_ahead(tongue.wording, ask_to_record=asks)]
            await prepared.prepare(tongue.voice, texts)
    except EngineUnavailable as unavailable:
        # The call will ask the voice itself, and meet it again.
        log.warning("voice.not_prepared", reason=str(unavailable))
        return False
    return True


def _owned(owners: Owners) -> frozenset[object]:
    """The partitions of calls that are this process's now."""
    topic = topic_of(CALLS.room)
    return frozenset(each.place for each in owners.ownerships() if each.owned and each.place.topic == topic)


def _others(owners: Owners) -> bool:
    """Whether another process owns calls: it would take up what is handed over."""
    topic = topic_of(CALLS.room)
    return any(each.holder and not each.owned for each in owners.ownerships() if each.place.topic == topic)


def _media_url(settings: Settings, public_url: str, port: int) -> str:
    """The carrier dials the public address; without one it is our own loopback, where TLS would prove nothing."""
    if settings.media_url is not None:
        return settings.media_url
    if settings.public_url is None:
        return f"ws://{settings.media_host}:{port}{_MEDIA_PATH}"
    return f"wss://{public_url.partition('://')[2]}{_MEDIA_PATH}"


def _new_call_id() -> str:
    return f"call_{uuid7(time.time_ns() // 1_000_000, secrets.randbits(74)).hex}"
