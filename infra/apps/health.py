"""How a process is, from what its parts know of themselves: each process says what it can see."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.ports import Check
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.postgres.progress import Progress
from infra.adapters.rpc.certificate import CertificateUnusable, ServerCertificate
from infra.apps.lag import SeenLag
from infra.apps.owning import Owning
from projections.directory import Directory
from projections.queries import RowsUnavailable

Look: TypeAlias = Callable[[], Awaitable[Sequence[Check]]]
_LOOK_SECONDS = 0.5


class TakingCalls(Protocol):
    """A voice worker, for processes that have none."""

    draining: bool

    @property
    def takes_calls(self) -> bool: ...

    def health(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class HealthOf:
    """`api.ports.Health` of the parts of a process."""

    looks: Sequence[Look]

    async def __call__(self) -> Sequence[Check]:
        return [check for look in self.looks for check in await look()]


def of_log(owning: Owning, reader: KafkaLogReader) -> Look:
    """Whether the log can be written and read from here. A partition that another process owns, or nobody yet, is no trouble."""

    async def look() -> Sequence[Check]:
        ownerships = owning.owners.ownerships()
        lost = [str(each.place) for each in ownerships if each.holder == owning.address and not each.owned]
        why = f"{len(lost)} of {len(ownerships)} partitions were ours and take nothing: {', '.join(lost[:3])}" if lost else ""
        if away := reader.away:
            why = f"Kafka is away ({'; '.join(away.values())})"
        return [Check(name="log", ready=not why, why=why)]

    return look


def of_directory(directory: Directory) -> Look:
    """Whether keys and numbers are known."""

    async def look() -> Sequence[Check]:
        why = "" if directory.caught_up.is_set() else "it waits for the end of the log"
        return [Check(name="directory", ready=not why, why=why, needed=False)]

    return look


def of_read_models(progress: Progress, directory: Directory) -> Look:
    """How far the tables are that other processes write, as far as it shows on the topics that this process reads itself."""

    async def look() -> Sequence[Check]:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                reached = await progress.read()
        except (RowsUnavailable, TimeoutError) as cause:
            return [Check(name="read models", ready=False, why=str(cause) or "PostgreSQL is slow to answer", needed=False)]
        behind = sum(max(0, seen - reached.get(place, (0, None))[0]) for place, seen in directory.position().items())
        why = f"{behind} records are still to be projected" if behind else ""
        return [Check(name="read models", ready=True, why=why, needed=False)]

    return look


def of_grpc(certificate: ServerCertificate | None, now: Callable[[], datetime]) -> Look:
    """How the gRPC view is spoken to, and until when its certificate counts."""

    async def look() -> Sequence[Check]:
        if certificate is None:
            return [Check(name="grpc", ready=True, why="in clear", needed=False)]
        try:
            end = certificate.expires_at()
        except CertificateUnusable as cause:
            return [Check(name="grpc", ready=False, why=str(cause), needed=False)]
        return [Check(name="grpc", ready=end > now(), why=f"by TLS, its certificate counts until {end:%Y-%m-%d}", needed=False)]

    return look


def of_lag(seen: SeenLag) -> Look:
    """How far the journal and the tables are behind the log, whoever writes them."""

    async def look() -> Sequence[Check]:
        last = seen.last
        if last is None:
            return [Check(name="lag", ready=False, why=f"not known: {seen.why}", needed=False)]
        behind = f"journal {last.journal}, slowest projection {last.slowest} records behind the log"
        packing = f"{last.packing} of the journal is being packed" if last.packing else ""
        return [Check(name="lag", ready=True, why="; ".join(filter(None, (behind if last.slowest else "", packing))), needed=False)]

    return look


def of_redis(client: Redis) -> Look:
    """Whether what Redis holds is at hand: live calls, quotas over all processes, long event ids. Nothing is lost without it."""

    async def look() -> Sequence[Check]:
        why = ""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await client.ping()
        except (RedisError, OSError, TimeoutError) as cause:
            why = f"Redis does not answer ({type(cause).__name__})"
        return [Check(name="redis", ready=not why, why=why, needed=False)]

    return look


def of_parts(waits_for: Callable[[], Mapping[str, str]]) -> Look:
    """What the parts of the read side in this process wait for."""

    async def look() -> Sequence[Check]:
        return [Check(name=name, ready=not why, why=why, needed=False) for name, why in waits_for().items()]

    return look


def of_calls(worker: TakingCalls) -> Look:
    """What the voice worker does."""

    async def look() -> Sequence[Check]:
        counted = ", ".join(f"{name} {count}" for name, count in worker.health().items())
        if worker.draining:
            return [Check(name="calls", ready=False, why=f"draining: no new calls ({counted})", needed=True)]
        why = counted if worker.takes_calls else f"no new calls: the spool is too full, or cannot be written ({counted})"
        return [Check(name="calls", ready=worker.takes_calls, why=why, needed=False)]

    return look
