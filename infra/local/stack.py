"""Kafka, PostgreSQL and Redis for one state folder: found again, mended, started side by side, or taken from the environment."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import asyncpg

from infra.apps.brokers import security_of
from infra.local.children import Child, StillRunning, end, is_alive, marked, memory_bytes, spawn
from infra.local.kafka import KafkaService, probe_kafka
from infra.local.ports import NoFreePort, free_ports, is_free
from infra.local.postgres import PostgresService, probe_postgres
from infra.local.programs import last_words
from infra.local.redis import RedisService, probe_redis
from infra.local.remembered import Memory, Remembered, sockets_folder
from infra.local.services import Progress, Service, StackUnavailable, Unreachable
from infra.settings import Settings

_STARTS = 3
_READY_SECONDS = 90.0
_SILENT_SECONDS = 5.0
_GIVEN_SECONDS = 5.0
_RELEASE_LOOKS = 40
_POLL_SECONDS = 0.05
# One that was not answered in time may have met a machine that stood still.
_STATUS_QUESTIONS = 2

Condition = Literal["running", "silent", "died", "stopped", "given", "away"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where clients find the three: bootstrap servers, a DSN, a URL."""

    kafka: str
    postgres: str
    redis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One service as it is now. `given` and `away` are for those whose address the environment gives."""

    name: str
    condition: Condition
    address: str | None = None
    pid: int | None = None
    memory_bytes: int | None = None
    log: Path | None = None
    reason: str | None = None


async def ensure_stack(state_dir: Path, settings: Settings, progress: Progress) -> Addresses:
    """Make all three answer and say where. What runs is left alone, what died or is silent is started again on its data.

    Raises StackUnavailable with a sentence per service that cannot be had.
    """
    memory = Memory(state_dir)
    addresses: dict[str, str] = {}

    async def own(service: Service) -> None:
        addresses[service.name] = await _ensure(service, memory, progress)

    async def given(name: str, address: str) -> None:
        await _await_given(name, address, _probes(settings)[name])
        progress(name, "answers at the address that the environment gives")
        addresses[name] = address

    # The given ones first: when one of them is away, nothing is started for nothing.
    await _all({f"reach {name}": given(name, address) for name, address in _given(settings).items()})
    async with memory.lock():
        await _all({f"ensure {service.name}": own(service) for service in _own(state_dir, settings)})
    return Addresses(**addresses)


async def stop_stack(state_dir: Path, settings: Settings, progress: Progress) -> None:
    """End our own children; their data stays. Idempotent. Raises StackUnavailable for one that does not end."""
    memory = Memory(state_dir)

    async def stop(service: Service) -> None:
        known = memory.read().get(service.name)
        children = marked(service.mark)
        if children:
            progress(service.name, "stopping")
            await _end(service, children)
            progress(service.name, "stopped")
        if known is not None:
            memory.remember(service.name, Remembered(ports=known.ports, child=None))

    async with memory.lock():
        await _all({f"stop {service.name}": stop(service) for service in _own(state_dir, settings)})
        sockets = sockets_folder(state_dir)
        if not sockets.is_relative_to(state_dir):
            shutil.rmtree(sockets, ignore_errors=True)


async def stack_status(state_dir: Path, settings: Settings) -> list[ServiceStatus]:
    """What runs now and what it takes. Starts nothing and changes nothing."""
    known = Memory(state_dir).read()
    statuses = [await _status(service, known.get(service.name)) for service in _own(state_dir, settings)]
    for name, address in _given(settings).items():
        try:
            await _probes(settings)[name](address)
        except (Unreachable, asyncpg.PostgresError) as error:
            statuses.append(ServiceStatus(name=name, condition="away", reason=str(error)))
        else:
            statuses.append(ServiceStatus(name=name, condition="given"))
    return sorted(statuses, key=lambda status: status.name)


def _probes(settings: Settings) -> Mapping[str, Callable[[str], Awaitable[None]]]:
    kafka = partial(probe_kafka, security=security_of(settings))
    return {"kafka": kafka, "postgres": probe_postgres, "redis": probe_redis}


_VARIABLES = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "postgres": "DATABASE_URL", "redis": "REDIS_URL"}


def _given(settings: Settings) -> dict[str, str]:
    given = {
        "kafka": settings.kafka_bootstrap_servers,
        "postgres": settings.database_url.get_secret_value() if settings.database_url else None,
        "redis": settings.redis_url.get_secret_value() if settings.redis_url else None,
    }
    return {name: address for name, address in given.items() if address is not None}


def _own(state_dir: Path, settings: Settings) -> list[Service]:
    sockets = sockets_folder(state_dir)
    services: list[Service] = [
        KafkaService(state_dir / "kafka", settings.cache_dir),
        PostgresService(state_dir / "postgres", sockets),
        RedisService(state_dir / "redis", sockets),
    ]
    return [service for service in services if service.name not in _given(settings)]


async def _all(duties: Mapping[str, Coroutine[None, None, None]]) -> None:
    """Do them side by side; each that fails adds its sentence."""
    failures: list[str] = []

    async def do(duty: Coroutine[None, None, None]) -> None:
        try:
            await duty
        except StackUnavailable as error:
            failures.append(str(error))

    async with asyncio.TaskGroup() as tasks:
        for name, duty in duties.items():
            tasks.create_task(do(duty), name=name)
    if failures:
        raise StackUnavailable("\n".join(sorted(failures)))


async def _await_given(name: str, address: str, probe: Callable[[str], Awaitable[None]]) -> None:
    deadline = time.monotonic() + _GIVEN_SECONDS
    while True:
        try:
            await probe(address)
        except (Unreachable, asyncpg.PostgresError) as error:
            if time.monotonic() > deadline:
                raise StackUnavailable(
                    f"{name} does not answer at the address in {_VARIABLES[name]}: {str(error).rstrip('.')}. "
                    f"Start it, correct the address, or unset {_VARIABLES[name]} to use the local stack"
                ) from error
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


async def _ensure(service: Service, memory: Memory, progress: Progress) -> str:
    known = memory.read().get(service.name)
    ports = known.ports if known else ()
    if known is not None and known.child is not None:
        if is_alive(known.child, mark=service.mark):
            address = service.address(ports)
            if await _answers(service, known.child, address, seconds=_SILENT_SECONDS):
                progress(service.name, "is running")
                return address
            progress(service.name, f"process {known.child.pid} does not answer; starting it again")
        else:
            progress(service.name, f"process {known.child.pid} has died; starting it again")
    # Whoever works on these files unremembered would hold them locked, or write to files that are gone.
    await _end(service, marked(service.mark))
    await _await_release(ports)
    return await _start(service, memory, ports, progress)


async def _start(service: Service, memory: Memory, wanted: tuple[int, ...], progress: Progress) -> str:
    for _ in range(_STARTS):
        try:
            ports = free_ports(service.ports_wanted, rather=wanted)
            await service.prepare(ports, progress)
            progress(service.name, "starting")
            child = spawn(service.command(ports), log=service.log)
        except (OSError, NoFreePort) as error:
            raise StackUnavailable(f"{service.name} cannot be started: {error}") from error
        memory.remember(service.name, Remembered(ports=ports, child=child))
        address = service.address(ports)
        if await _answers(service, child, address, seconds=_READY_SECONDS):
            progress(service.name, "is ready")
            return address
        if is_alive(child, mark=service.mark):
            raise StackUnavailable(f"{service.name} did not become ready in {_READY_SECONDS:.0f} s. Its log: {service.log}")
        # Most likely a port was taken between our look and its bind, or a killed server's last process still held its memory.
        await _end(service, marked(service.mark))
    words = last_words(service.log.read_text(errors="replace"))
    raise StackUnavailable(f"{service.name} ended {_STARTS} times while it started. Its log, {service.log}, ends:\n{words}")


async def _await_release(ports: tuple[int, ...]) -> None:
    """A killed process is seen to be dead before its last thread has let its sockets go; clients want the same port again."""
    # Counted in looks, not by a clock: the whole machine may stand still meanwhile.
    for _ in range(_RELEASE_LOOKS):
        if all(map(is_free, ports)):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _answers(service: Service, child: Child, address: str, *, seconds: float) -> bool:
    """Ask until it answers, dies or the time is up."""
    deadline = time.monotonic() + seconds
    asked = 0
    while is_alive(child, mark=service.mark):
        asked += 1
        try:
            await service.probe(address)
        except Unreachable:
            # Once says nothing: a machine that stood still let all the time pass within one question.
            if asked > 1 and time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return True
    return False


async def _end(service: Service, children: list[Child]) -> None:
    try:
        for child in children:
            await end(child, mark=service.mark, grace_seconds=service.stop_seconds, by=service.stop_signal)
    except (StillRunning, PermissionError) as error:
        raise StackUnavailable(f"{service.name} cannot be stopped: {error}") from error


async def _status(service: Service, known: Remembered | None) -> ServiceStatus:
    if known is None or known.child is None:
        return ServiceStatus(name=service.name, condition="stopped", log=service.log if service.log.exists() else None)
    pid, address = known.child.pid, service.address(known.ports)
    if not is_alive(known.child, mark=service.mark):
        return ServiceStatus(name=service.name, condition="died", pid=pid, log=service.log, reason=f"process {pid} is gone")
    reason = None
    for _ in range(_STATUS_QUESTIONS):
        try:
            await service.probe(address)
        except Unreachable as error:
            reason = str(error)
        else:
            reason = None
            break
    return ServiceStatus(
        name=service.name,
        condition="running" if reason is None else "silent",
        address=address,
        pid=pid,
        memory_bytes=memory_bytes(known.child),
        log=service.log,
        reason=reason,
    )
