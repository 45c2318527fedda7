"""The local stack on real processes: found again, mended after `kill -9`, apart from its neighbours."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from infra.apps.status import ALLOWED_BYTES
from infra.local.children import Child, marked
from infra.local.ports import free_ports
from infra.local.remembered import Remembered
from infra.local.services import StackUnavailable
from infra.local.stack import Addresses
from infra.settings import Settings
from tests.infra.local.homes import Home, a_parent_of, append, execute, records


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Home]:
    """One stack for this module, because a Kafka takes seconds to start. Tests leave it as they like."""
    home = Home(state_dir=tmp_path_factory.mktemp("stack"), settings=settings)
    yield home
    asyncio.run(home.down())


@pytest.fixture
async def home(shared: Home) -> Home:
    """The module's stack, mended."""
    await shared.up()
    return shared


@pytest.fixture
async def small(stack: Addresses, settings: Settings, tmp_path: Path) -> AsyncIterator[Callable[[str], Home]]:
    """Makes stacks that borrow the session's Kafka, for what concerns all services alike; stops them after the test."""
    homes: list[Home] = []
    borrowing = settings.model_copy(update={"kafka_bootstrap_servers": stack.kafka})

    def make(folder: str) -> Home:
        homes.append(Home(state_dir=tmp_path / folder, settings=borrowing))
        return homes[-1]

    yield make
    for home in homes:
        await home.down()


class TestEnsureStack:
    async def test_leaves_alone_what_runs(self, home: Home) -> None:
        before = await home.status()
        await home.up()
        assert {name: service.pid for name, service in (await home.status()).items()} == {
            name: service.pid for name, service in before.items()
        }

    async def test_starts_a_killed_kafka_again_with_every_record(self, home: Home) -> None:
        bootstrap = (await home.up()).kafka
        await append(bootstrap, "killed", b"acknowledged")
        await home.kill("kafka")
        assert (await home.up()).kafka == bootstrap
        await append(bootstrap, "killed", b"after")
        assert await records(bootstrap, "killed") == [b"acknowledged", b"after"]

    async def test_starts_a_killed_postgres_again_with_every_committed_row(self, home: Home) -> None:
        dsn = (await home.up()).postgres
        await execute(dsn, "CREATE TABLE killed AS SELECT 'committed' AS word")
        await home.kill("postgres")
        assert (await home.up()).postgres == dsn
        assert await execute(dsn, "SELECT word FROM killed") == ["committed"]

    async def test_starts_a_killed_postgres_again_whose_parent_has_not_fetched_it(self, small: Callable[[str], Home]) -> None:
        home = small("parent")
        async with a_parent_of(home):
            await home.kill("postgres")
            dsn = (await home.up()).postgres
            assert await execute(dsn, "SELECT 'back'") == ["back"]

    async def test_starts_a_killed_redis_again_empty(self, home: Home) -> None:
        url = (await home.up()).redis
        async with Redis.from_url(url) as client:
            await client.set("live", "state")
        await home.kill("redis")
        assert (await home.up()).redis == url
        async with Redis.from_url(url) as client:
            assert await client.get("live") is None

    async def test_starts_everything_again_after_all_were_killed_at_once(self, home: Home) -> None:
        addresses = await home.up()
        for service in (await home.status()).values():
            assert service.pid is not None
            os.kill(service.pid, signal.SIGKILL)
        assert await home.up() == addresses
        assert {service.condition for service in (await home.status()).values()} == {"running"}

    async def test_takes_another_port_when_its_own_was_taken_meanwhile(self, home: Home) -> None:
        before = (await home.up()).kafka
        await append(before, "moved", b"kept")
        await home.down()
        with socket.create_server(("127.0.0.1", int(before.partition(":")[2]))):
            after = (await home.up()).kafka
        assert after != before
        assert await records(after, "moved") == [b"kept"]

    async def test_starts_once_when_asked_twice_at_once(self, small: Callable[[str], Home]) -> None:
        home = small("state")
        async with asyncio.TaskGroup() as tasks:
            first, second = tasks.create_task(home.up()), tasks.create_task(home.up())
        assert first.result() == second.result()
        assert len(marked(str(home.state_dir / "run" / "redis.sock"))) == 1

    async def test_replaces_one_that_is_frozen(self, small: Callable[[str], Home]) -> None:
        home = small("state")
        await home.up()
        frozen = await home.pid("redis")
        os.kill(frozen, signal.SIGSTOP)
        assert (await home.status())["redis"].condition == "silent"
        await home.up()
        assert (await home.status())["redis"].condition == "running"
        assert await home.pid("redis") != frozen

    async def test_is_not_fooled_by_a_pid_that_now_belongs_to_another(self, small: Callable[[str], Home]) -> None:
        home = small("state")
        dsn = (await home.up()).postgres
        await home.kill("postgres")
        # Both records of the dead server now name this very process: ours, and the server's own.
        ourselves = Child(pid=os.getpid(), started=0.0)
        home.memory().remember("postgres", Remembered(ports=(), child=ourselves))
        pid_file = home.state_dir / "postgres" / "data" / "postmaster.pid"
        pid_file.write_text("\n".join([str(os.getpid()), *pid_file.read_text().splitlines()[1:]]) + "\n")
        assert (await home.status())["postgres"].condition == "died"
        assert (await home.up()).postgres == dsn
        assert (await home.status())["postgres"].condition == "running"

    async def test_ends_children_that_it_has_no_memory_of(self, small: Callable[[str], Home]) -> None:
        home = small("state")
        await home.up()
        forgotten = await home.pid("redis")
        (home.state_dir / "stack.json").write_text("{ torn")
        await home.up()
        assert [child.pid for child in marked(str(home.state_dir / "run" / "redis.sock"))] == [await home.pid("redis")]
        assert await home.pid("redis") != forgotten

    async def test_keeps_two_state_folders_apart(self, small: Callable[[str], Home]) -> None:
        one, other = small("one"), small("other")
        first, second = await one.up(), await other.up()
        assert first.postgres != second.postgres
        await execute(first.postgres, "CREATE TABLE here ()")
        assert await execute(second.postgres, "SELECT to_regclass('here') AS found") == [None]
        await one.down()
        assert (await other.status())["redis"].condition == "running"

    async def test_finds_a_shorter_place_for_the_sockets_of_a_deep_folder(self, small: Callable[[str], Home]) -> None:
        home = small("/".join(["a-folder-with-a-long-name"] * 5))
        addresses = await home.up()
        assert await execute(addresses.postgres, "SELECT 1 AS one") == [1]
        async with Redis.from_url(addresses.redis) as client:
            assert await client.ping()

    async def test_says_which_given_service_is_away_and_starts_nothing(self, settings: Settings, tmp_path: Path) -> None:
        ports = free_ports(3)
        away = {
            "kafka_bootstrap_servers": f"127.0.0.1:{ports[0]}",
            "database_url": SecretStr(f"postgresql://someone:secret@127.0.0.1:{ports[1]}/db"),
            "redis_url": None,
        }
        home = Home(state_dir=tmp_path, settings=settings.model_copy(update=away))
        with pytest.raises(StackUnavailable) as raised:
            await home.up()
        first, second = str(raised.value).splitlines()
        assert first.startswith("kafka does not answer at the address in KAFKA_BOOTSTRAP_SERVERS")
        assert second.startswith("postgres does not answer at the address in DATABASE_URL")
        assert "secret" not in str(raised.value)
        assert not home.memory().read()


class TestStopStack:
    async def test_keeps_the_data_and_can_be_repeated(self, small: Callable[[str], Home]) -> None:
        home = small("state")
        await execute((await home.up()).postgres, "CREATE TABLE kept ()")
        await home.down()
        await home.down()
        assert {service.condition for service in (await home.status()).values()} == {"given", "stopped"}
        assert await execute((await home.up()).postgres, "SELECT 'kept'::regclass::text AS name") == ["kept"]


class TestStackStatus:
    async def test_sums_a_stack_that_fits_a_small_machine(self, home: Home) -> None:
        taken = [service.memory_bytes or 0 for service in (await home.status()).values()]
        assert all(taken)
        assert sum(taken) < ALLOWED_BYTES
