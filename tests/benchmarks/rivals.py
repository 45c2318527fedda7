"""Commits a second of the `eventsourcing` library on its own stores and on our log, beside our owners': `make bench NAME=rivals`."""

import asyncio
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import structlog
import uvloop
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent

from infra.local.stack import Addresses, ensure_stack, stop_stack
from infra.settings import load_settings
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.log import CALLERS, DESCRIPTION, grouped, open_log, single

_TITLE = "one event a commit, expected version checked; threads are the library's, callers are ours"
_SECONDS = 2.0
_THREADS = 16
_LOAD_EVENTS = 10
Environment = Mapping[str, str]


class Shop(Aggregate):
    @event("Opened")
    def __init__(self) -> None:
        self.asked = 0

    @event("Asked")
    def ask(self, words: str) -> None:
        self.asked += 1


class Shops(Application[UUID]):
    pass


def inserts(app: Shops, threads: int) -> float:
    """Commits a second of the recorder alone: the aggregate at hand, its event as bytes."""
    end = time.perf_counter() + _SECONDS
    state = DESCRIPTION.encode()

    def work() -> int:
        aggregate, version = uuid4(), 0
        while time.perf_counter() < end:
            version += 1
            app.recorder.insert_events([StoredEvent(aggregate, version, "shop:Asked", state)])
        return version

    return _rate(work, threads)


def commands(app: Shops) -> float:
    """Commands a second as users give them: read the aggregate, decide, save."""
    end = time.perf_counter() + _SECONDS

    def work() -> int:
        done = 0
        while time.perf_counter() < end:
            shop = Shop()
            app.save(shop)
            for _ in range(_LOAD_EVENTS - 1):
                found: Shop = app.repository.get(shop.id)
                found.ask(DESCRIPTION)
                app.save(found)
            done += _LOAD_EVENTS
        return done

    return _rate(work, 1)


def _rate(work: Callable[[], int], threads: int) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(each.result() for each in [pool.submit(work) for _ in range(threads)])
    return done / (time.perf_counter() - begun)


def stores(services: Addresses, folder: Path) -> Mapping[str, Environment]:
    """Each store that the library can be put on, by the name that its figures get."""
    postgres = urlsplit(services.postgres)
    return {
        "memory": {"PERSISTENCE_MODULE": "eventsourcing.popo"},
        "sqlite": {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "shops.sqlite")},
        "postgresql": {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_HOST": parse_qs(postgres.query).get("host", [postgres.hostname or ""])[0],
            "POSTGRES_PORT": str(postgres.port or 5432),
            "POSTGRES_DBNAME": postgres.path.lstrip("/"),
            "POSTGRES_USER": postgres.username or "postgres",
            "POSTGRES_PASSWORD": postgres.password or "none",
            "POSTGRES_POOL_SIZE": str(_THREADS),
        },
        "our_log": {
            "PERSISTENCE_MODULE": "infra.adapters.eventsourcing_log.persistence",
            "KAFKA_BOOTSTRAP_SERVERS": services.kafka,
            "KAFKA_TOPIC_PREFIX": f"rivals{uuid.uuid4().hex[:12]}",
            "KAFKA_SURROUNDINGS": "local",
        },
    }


def measure_library(services: Addresses, folder: Path) -> list[Figure]:
    figures = []
    for name, env in stores(services, folder).items():
        with Shops(env) as app:
            inserts(app, 1)
            figures.append(_figure(f"library_on_{name}_one_thread", inserts(app, 1)))
            # A file takes one writer.
            if name != "sqlite":
                figures.append(_figure(f"library_on_{name}_{_THREADS}_threads", inserts(app, _THREADS)))
            figures.append(_figure(f"library_on_{name}_load_decide_save", commands(app)))
    return figures


async def measure_ours(kafka: str) -> list[Figure]:
    async with open_log(kafka, f"rivals{uuid.uuid4().hex[:12]}") as opened:
        alone = await single(opened[0])
        rate = (await grouped(opened[0]))[0]
    return [_figure("our_owners_one_caller", 1000 * len(alone) / sum(alone)), _figure(f"our_owners_{CALLERS}_callers", rate)]


def _figure(name: str, value: float) -> Figure:
    return Figure(figure=name, value=round(value), unit="1/s", better="higher")


def _tell(part: str, words: str) -> None:
    sys.stderr.write(f"{part}: {words}\n")


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    settings = load_settings()
    state_dir = settings.state_dir / "bench"
    services = asyncio.run(ensure_stack(state_dir, settings, _tell))
    try:
        with TemporaryDirectory() as folder:
            figures = [*uvloop.run(measure_ours(services.kafka)), *measure_library(services, Path(folder))]
        show("rivals", _TITLE, figures)
    finally:
        asyncio.run(stop_stack(state_dir, settings, _tell))


if __name__ == "__main__":
    main()
