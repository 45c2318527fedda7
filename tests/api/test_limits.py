"""A key asks as much as its quota allows, in all processes together, and hears how it stands."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limiter import Limiter
from api.limits import DEAR_ROUTES, SIGN_INS, AtOnce, Limits, LimitsAway, Policy, ProcessLimits, Standing
from api.problems import Problem
from infra.adapters import redis_limits
from infra.adapters.redis import connected
from infra.adapters.redis_limits import RedisLimits
from tests.api.asking import refusal
from tests.api.platform import Platform, Tenant, served

TEN = Policy(name="writes", quota=10, window_seconds=3600)
READ, WRITE = ("GET", "/v1/flags"), ("PUT", "/v1/flags/often")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["process", "redis"])
async def limits(
    request: pytest.FixtureRequest, redis_url: str, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Limits]:
    if request.param == "process":
        yield ProcessLimits(Clock())
    else:
        # On a busy machine thirty connections take longer than a client should wait.
        monkeypatch.setattr(redis_limits, "_SECONDS", 20.0)
        async with connected(redis_url) as client:
            yield RedisLimits(client, prefix=redis_prefix)


class TestLimits:
    async def test_let_a_burst_pass_and_then_say_how_long_to_wait(self, limits: Limits) -> None:
        standings = [await limits.take(TEN, "key") for _ in range(11)]
        assert [standing.remaining for standing in standings] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
        assert [standing.wait_seconds for standing in standings[:10]] == [0.0] * 10
        assert 359 < standings[10].wait_seconds <= 360

    def test_make_whoever_guesses_a_password_wait_longer_and_longer(self) -> None:
        clock = Clock()
        limits, guesses, waits, ends = ProcessLimits(clock), 0, [0.0], clock.now + 86_400
        while clock.now < ends:
            wait = max(limits.count(policy, "somebody").wait_seconds for policy in SIGN_INS)
            if wait:
                waits.append(wait)
                clock.now += wait
            else:
                guesses += 1
        assert guesses <= 80
        assert 30 <= waits[1] <= 60
        assert max(waits) > 1800

    async def test_count_each_key_and_each_policy_apart(self, limits: Limits) -> None:
        for _ in range(10):
            await limits.take(TEN, "key")
        assert (await limits.take(TEN, "key")).wait_seconds > 0
        assert (await limits.take(TEN, "other")).wait_seconds == 0
        assert (await limits.take(replace(TEN, name="reads"), "key")).wait_seconds == 0

    async def test_count_together_what_is_asked_at_once(self, limits: Limits) -> None:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(limits.take(TEN, "key")) for _ in range(30)]
        assert sum(task.result().wait_seconds == 0 for task in asked) == 10


class TestConnections:
    @pytest.fixture(autouse=True)
    def patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redis_limits, "_SECONDS", 20.0)

    async def test_that_redis_hung_up_on_meanwhile_are_opened_anew(self, redis_url: str, redis_prefix: str) -> None:
        name = redis_prefix.strip(":")
        async with connected(f"{redis_url}{'&' if '?' in redis_url else '?'}client_name={name}") as client, connected(redis_url) as other:
            limits = RedisLimits(client, prefix=redis_prefix)
            async with asyncio.TaskGroup() as tasks:
                for _ in range(3):
                    tasks.create_task(limits.take(TEN, "key"))
            opened = [each["id"] for each in await other.client_list() if each["name"] == name]
            assert len(opened) >= 3
            for each in opened:
                await other.client_kill_filter(_id=each)
            assert (await limits.take(TEN, "key")).remaining == 6
            assert (await limits.take(TEN, "key")).remaining == 5

    async def test_on_which_nobody_waited_for_the_answer_are_not_used_again(self, redis_url: str, redis_prefix: str) -> None:
        async with connected(redis_url) as client:
            limits = RedisLimits(client, prefix=redis_prefix)
            await limits.take(TEN, "key")
            given_up = asyncio.create_task(limits.take(replace(TEN, quota=1000), "other"))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.wait([given_up])
            assert given_up.cancelled()
            assert (await limits.take(TEN, "key")).remaining == 8


class TestAtOnce:
    """Two processes, one Redis."""

    @pytest.fixture(autouse=True)
    def patient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redis_limits, "_SECONDS", 20.0)

    async def test_is_counted_over_all_processes(self, redis_url: str, redis_prefix: str) -> None:
        async with connected(redis_url) as client:
            here, there = (RedisLimits(client, prefix=redis_prefix) for _ in range(2))
            assert [await entered(each) for each in (here, there, here, there)] == [2, 1, 0, -1]
            there.at_once.leave("key")
            # Of whom another was refused there is as many as before.
            assert await entered(here) == -1
            here.at_once.leave("key")
            here.at_once.leave("key")
            # The other hears of it from the next request, or from the report.
            assert await entered(there) == -1
            there.at_once.leave("key")
            await here.report(["key"])
            assert await entered(there) == 0

    async def test_is_forgotten_of_a_process_that_is_no_more(
        self, redis_url: str, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with connected(redis_url) as client:
            here, dead = (RedisLimits(client, prefix=redis_prefix) for _ in range(2))
            assert [await entered(each) for each in (dead, dead, dead, here)] == [2, 1, 0, -1]
            here.at_once.leave("key")
            monkeypatch.setattr(redis_limits, "_LEASE", "1")
            await dead.report(["key"])
            assert await entered(here) == 2

    async def test_counts_what_is_asked_at_once_whatever_arrives_first(self, redis_url: str, redis_prefix: str) -> None:
        async with connected(redis_url) as client:
            here = RedisLimits(client, prefix=redis_prefix)
            other = RedisLimits(client, prefix=redis_prefix)
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(entered(here, most=20)) for _ in range(12)]
            assert min(task.result() for task in asked) >= 8
            assert await entered(other, most=20) == 7


async def entered(limits: RedisLimits, most: int = 3) -> int:
    """How many more may be answered at once beside one that came."""
    limits.at_once.enter("key")
    return (await limits.take(replace(TEN, quota=1000), "key", most)).free


@given(st.lists(st.floats(0, 100), max_size=60), st.integers(1, 20))
def test_no_window_ever_passes_more_than_a_quota_beside_what_was_given_back(pauses: list[float], quota: int) -> None:
    clock, policy = Clock(), Policy(name="writes", quota=quota, window_seconds=60)
    limits = ProcessLimits(clock)
    passed = []
    for pause in pauses:
        clock.now += pause
        if limits.count(policy, "key").wait_seconds == 0:
            passed.append(clock.now)
    for at, begin in enumerate(passed):
        within = [time for time in passed[at:] if time <= begin + 60]
        assert len(within) <= quota + math.ceil((within[-1] - begin) / 60 * quota) + 1


class Away:
    """Nobody counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_once = AtOnce()

    async def take(self, policy: Policy, who: str, most_at_once: int = 0) -> Standing:
        self.asked += 1
        raise LimitsAway("Redis is away")


class TestLimiter:
    async def test_lets_reads_pass_while_nobody_counts_and_changes_in_part(self) -> None:
        clock, away = Clock(), Away()
        limiter = Limiter(away, (replace(TEN, name="reads"), replace(TEN, quota=40), TEN), clock, at_once=1000)
        for _ in range(100):
            assert await limiter.admit("key", *READ) == {}
        for _ in range(10):
            await limiter.admit("key", *WRITE)
        with pytest.raises(Problem) as refused:
            await limiter.admit("key", *WRITE)
        assert refused.value.kind.code == "too-many-requests"
        # Who does not answer is not asked again for every request.
        assert away.asked == 1
        clock.now += 1.5
        await limiter.admit("key", *READ)
        assert away.asked == 2

    async def test_lets_so_many_pass_at_once(self) -> None:
        limiter = Limiter(ProcessLimits(Clock()), (TEN, TEN, TEN), Clock(), at_once=2)
        await limiter.admit("key", *READ)
        await limiter.admit("key", *READ)
        await limiter.admit("other", *READ)
        with pytest.raises(Problem) as refused:
            await limiter.admit("key", *READ)
        assert refused.value.kind.code == "too-many-at-once"
        limiter.leave("key")
        await limiter.admit("key", *READ)

    async def test_counts_what_is_dear_by_itself(self) -> None:
        reads, writes, dear = replace(TEN, name="reads"), TEN, replace(TEN, name="dear", quota=2)
        limiter = Limiter(ProcessLimits(Clock()), (reads, writes, dear), Clock())
        asked = [
            ("POST", "/graphql", b""), ("GET", "/v1/lookup", b""), ("POST", "/v1/exports", b""), ("GET", "/v1/flags", b"limit=1&as-of=x"),
            ("GET", "/v1/flags", b"as%2Dof=x"),
        ]  # fmt: skip
        for request in asked[:2]:
            assert (await limiter.admit("key", *request))["RateLimit-Policy"] == '"dear";q=2;w=3600'
        for request in asked:
            with pytest.raises(Problem) as refused:
                await limiter.admit("key", *request)
            assert (refused.value.kind.code, refused.value.headers["RateLimit"]) == ("too-many-requests", '"dear";r=0;t=3600')
        assert (await limiter.admit("key", *READ))["RateLimit"].startswith('"reads";r=9')
        assert (await limiter.admit("key", *WRITE))["RateLimit"].startswith('"writes";r=9')

    async def test_says_what_is_tighter_the_quota_or_how_much_goes_on_at_once(self) -> None:
        limiter = Limiter(ProcessLimits(Clock()), (TEN, TEN, TEN), Clock(), at_once=4)
        said = [(await limiter.admit("key", *READ))["RateLimit"].partition(";t")[0] for _ in range(4)]
        assert said == ['"writes";r=9', '"writes";r=8', '"at-once";r=1', '"at-once";r=0']

    async def test_lets_changes_pass_in_part_and_so_many_at_once_while_nobody_counts(self) -> None:
        limiter = Limiter(Away(), (TEN, replace(TEN, quota=400), TEN), Clock(), at_once=3)
        for request in (READ, WRITE, READ):
            await limiter.admit("key", *request)
        for request in (READ, WRITE):
            with pytest.raises(Problem) as refused:
                await limiter.admit("key", *request)
            assert refused.value.kind.code == "too-many-at-once"

    async def test_does_not_count_who_was_refused_among_those_who_are_answered(self) -> None:
        limiter = Limiter(ProcessLimits(Clock()), (replace(TEN, name="reads"), replace(TEN, quota=1), TEN), Clock(), at_once=2)
        await limiter.admit("key", *WRITE)
        for _ in range(5):
            with pytest.raises(Problem):
                await limiter.admit("key", *WRITE)
        await limiter.admit("key", *READ)


@pytest.mark.asyncio(loop_scope="package")
class TestAnswers:
    async def test_say_how_the_key_stands(self, tenant: Tenant) -> None:
        answer = await tenant.api.get("/v1/agents")
        assert answer.headers["RateLimit-Policy"] == '"reads";q=12000;w=60'
        assert answer.headers["RateLimit"].startswith('"reads";r=119')
        assert answer.headers["X-RateLimit-Limit"] == "12000"

    async def test_are_refusals_once_the_quota_is_used_up(self, running: Platform, tenant: Tenant) -> None:
        ports = replace(running.ports, writes=TEN, limits=ProcessLimits(Clock()))
        async with served(ports) as url, httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {tenant.key}"}) as client:
            for _ in range(10):
                assert (await client.put("/v1/flags/often", json={"enabled": True, "variant": "on"})).status_code == 200
            answer = await client.put("/v1/flags/often", json={"enabled": True, "variant": "on"})
            assert refusal(answer) == (429, "too-many-requests")
            assert answer.headers["Retry-After"] == "360"
            assert answer.headers["RateLimit"] == '"writes";r=0;t=3600'
            assert answer.json()["retryable"]
            assert (await client.get("/v1/flags")).status_code == 200

    async def test_are_counted_by_themselves_where_they_are_dear(self, tenant: Tenant) -> None:
        paths = [*(await tenant.api.get("/openapi.json")).json()["paths"], "/graphql"]
        assert [dear for dear in DEAR_ROUTES if not any(path.startswith(dear) for path in paths)] == []
        answer = await tenant.api.post("/graphql", json={"query": "{ __typename }"})
        assert answer.headers["RateLimit-Policy"] == '"dear";q=1200;w=60'

    async def test_to_strangers_say_nothing_of_quotas(self, anonymous: httpx.AsyncClient) -> None:
        assert "RateLimit" not in (await anonymous.get("/v1/agents")).headers
