"""Our log as a persistence module of the `eventsourcing` library: `PERSISTENCE_MODULE=infra.adapters.eventsourcing_log.persistence`.

It reads from the environment, with or without the application's name before it as the library does:

    KAFKA_BOOTSTRAP_SERVERS    where the log is
    KAFKA_TOPIC_PREFIX         what its topics' names begin with (aybiza)
    KAFKA_SURROUNDINGS         production: three replicas; local: one
    KAFKA_WRITERS              the principals who may write to the log, with commas between them
    KAFKA_PATIENCE_SECONDS     how long a write is tried while the log is away (10)
    PEER_IDENTITY_FOLDER       certificates that the application's processes share, made when there are none; without it they take turns
    PEER_HOST                  where they reach this one (127.0.0.1)
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, get_args

from eventsourcing.persistence import InfrastructureFactory, InfrastructureFactoryError
from eventsourcing.utils import Environment, resolve_topic

from infra.adapters.eventsourcing_log.lodging import Lease
from infra.adapters.eventsourcing_log.recorders import (
    LogAggregateRecorder,
    LogApplicationRecorder,
    LogProcessRecorder,
    LogTrackingRecorder,
)
from infra.adapters.eventsourcing_log.residence import Residence
from infra.adapters.kafka.examining import Surroundings
from infra.adapters.kafka.topics import PREFIX
from infra.adapters.peer_identity import IdentityUnusable, PeerIdentity, local_identity

_NAME = re.compile(r"[a-z0-9_-]{1,80}\Z")
_EVENTS = "events"
T = TypeVar("T")


class Factory(InfrastructureFactory[LogTrackingRecorder]):
    """Connects with the first recorder, claims with the first write. `close` hands the application over to the next process."""

    def __init__(self, env: Environment | Mapping[str, str] | None) -> None:
        super().__init__(env if isinstance(env, Environment) or env is None else dict(env))
        self._residence: Residence | None = None

    def aggregate_recorder(self, purpose: str = _EVENTS) -> LogAggregateRecorder:
        return LogAggregateRecorder(self._opened(), purpose)

    def application_recorder(self) -> LogApplicationRecorder:
        return self._of_class(self.APPLICATION_RECORDER_TOPIC, LogApplicationRecorder)(self._opened(), _EVENTS)

    def tracking_recorder(self, tracking_recorder_class: type[LogTrackingRecorder] | None = None) -> LogTrackingRecorder:
        chosen = tracking_recorder_class or self._of_class(self.TRACKING_RECORDER_TOPIC, LogTrackingRecorder)
        return chosen(self._opened(), _EVENTS)

    def process_recorder(self) -> LogProcessRecorder:
        return self._of_class(self.PROCESS_RECORDER_TOPIC, LogProcessRecorder)(self._opened(), _EVENTS)

    def close(self) -> None:
        if self._residence is not None:
            self._residence.close()
            self._residence = None

    def _opened(self) -> Residence:
        if self._residence is None:
            self._residence = Residence(lease_of(self.env))
        return self._residence

    def _of_class(self, variable: str, ours: type[T]) -> type[T]:
        topic = self.env.get(variable)
        if not topic:
            return ours
        chosen: type[T] = resolve_topic(topic)
        if not issubclass(chosen, ours):
            raise InfrastructureFactoryError(f"{variable}={topic} is no subclass of {ours.__name__}")
        return chosen


def lease_of(env: Environment) -> Lease:
    """What the environment says. Raises InfrastructureFactoryError for what cannot be used."""
    application = (env.name or "application").lower()
    if not _NAME.match(application):
        raise InfrastructureFactoryError(f"{application!r} cannot be part of a topic's name; name the application with letters and digits")
    servers = env.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        raise InfrastructureFactoryError("KAFKA_BOOTSTRAP_SERVERS is missing: say where the log is, for example localhost:9092")
    said = env.get("KAFKA_SURROUNDINGS", "production")
    known: tuple[Surroundings, ...] = get_args(Surroundings)
    if said not in known:
        raise InfrastructureFactoryError(f"KAFKA_SURROUNDINGS={said}: it is one of {', '.join(known)}")
    return Lease(
        application=application,
        bootstrap_servers=servers,
        prefix=env.get("KAFKA_TOPIC_PREFIX", PREFIX),
        surroundings=known[known.index(said)],
        patience_seconds=float(env.get("KAFKA_PATIENCE_SECONDS", "10")),
        writers=tuple(filter(None, env.get("KAFKA_WRITERS", "").split(","))),
        peer_host=env.get("PEER_HOST", "127.0.0.1"),
        peer_identity=_identity(env.get("PEER_IDENTITY_FOLDER")),
    )


def _identity(folder: str | None) -> PeerIdentity | None:
    try:
        return None if folder is None else local_identity(Path(folder))
    except IdentityUnusable as error:
        raise InfrastructureFactoryError(str(error)) from error
