"""A real Kafka, PostgreSQL and Redis for the session, and a corner of its own in each for a test."""

import asyncio
import fcntl
import gc
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
import redis.asyncio
import uvloop
from xdist.remote import Producer

from infra.local.stack import Addresses, ensure_stack, stop_stack
from infra.settings import Settings, load_settings
from tests.again import REAL_TIME
from tests.lanes import Lanes, give_way

# gRPC would say at each program that a test starts that it cannot follow into it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# A broker that lives for a minute or two pays for the second compiler and never has it back: half of what a start and a test cost it.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
# Examples are not timed: a machine that is busy with other things would fail them.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# Folders whose tests wait for other processes, or for sockets of their own, in real time.
_IN_REAL_TIME = (
    "tests/chaos/",
    "tests/commands/routing/",
    "tests/contracts/",
    "tests/emulators/",
    "tests/faults/",
    "tests/infra/",
    "tests/spoken/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what a machine that stands still can make fail. What draws at random is not among it: another run would draw something else."""
    for item in items:
        if isinstance(item, pytest.Function) and not hypothesis.is_hypothesis_test(item.obj):
            rings = hasattr(item.module, "open_office")
            if rings or "stack" in item.fixturenames or item.nodeid.startswith(_IN_REAL_TIME):
                item.add_marker(REAL_TIME)


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes | None:
    return Lanes(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_sessionstart() -> None:
    give_way()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: a million objects, through which a collector would look again each time it is called."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _unheard(_part: str, _words: str) -> None:
    """Progress that nobody watches."""


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The environment's settings, with a state folder that only tests use: each of the processes that share a run has its own stack."""
    told = load_settings()
    return told.model_copy(update={"state_dir": told.state_dir / f"test{os.environ.get('PYTEST_XDIST_WORKER', '')}"})


@pytest.fixture(scope="session")
def stack(settings: Settings) -> Iterator[Addresses]:
    """The three services. Sessions at the same time share them: the first one in starts from nothing, the last one out stops them.

    What was left by a session can be looked at until the next one begins.
    """
    state_dir = settings.state_dir
    state_dir.mkdir(parents=True, exist_ok=True)
    sessions = os.open(state_dir / "sessions.lock", os.O_RDWR | os.O_CREAT)
    try:
        if _alone(sessions):
            asyncio.run(stop_stack(state_dir, settings, _unheard))
            _forget(state_dir)
        fcntl.flock(sessions, fcntl.LOCK_SH)
        yield asyncio.run(ensure_stack(state_dir, settings, _unheard))
        if _alone(sessions):
            asyncio.run(stop_stack(state_dir, settings, _unheard))
    finally:
        os.close(sessions)


def _alone(sessions: int) -> bool:
    try:
        fcntl.flock(sessions, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(state_dir: Path) -> None:
    for service in ("kafka", "postgres", "redis"):
        shutil.rmtree(state_dir / service, ignore_errors=True)


@pytest.fixture
def unique() -> str:
    """A name that no other test has: for topics, groups, prefixes."""
    return f"t{uuid.uuid4().hex[:16]}"


@pytest.fixture
def kafka(stack: Addresses) -> str:
    """The bootstrap servers. Topics are shared: take names from `unique`."""
    return stack.kafka


@pytest.fixture
async def database(stack: Addresses, unique: str) -> AsyncIterator[str]:
    """The DSN of a fresh, empty database that is dropped after the test."""
    connection = await asyncpg.connect(stack.postgres)
    try:
        await connection.execute(f'CREATE DATABASE "{unique}"')
        yield urlsplit(stack.postgres)._replace(path=f"/{unique}").geturl()
        await connection.execute(f'DROP DATABASE "{unique}" WITH (FORCE)')
    finally:
        await connection.close()


@pytest.fixture
def redis_url(stack: Addresses) -> str:
    """The URL of the shared Redis. Keys are shared: begin them with `redis_prefix`."""
    return stack.redis


@pytest.fixture
async def redis_prefix(redis_url: str, unique: str) -> AsyncIterator[str]:
    """What a test's keys begin with; they are deleted after it."""
    yield f"{unique}:"
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        async for key in client.scan_iter(match=f"{unique}:*", count=1000):
            await client.delete(key)
