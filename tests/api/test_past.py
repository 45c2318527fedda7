"""Time travel: every resource as it was at a time, or at a place on the log."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api import past
from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def flag(tenant: Tenant, name: str, variant: str) -> httpx.Response:
    answer = await tenant.api.put(f"/v1/flags/{name}", json={"enabled": True, "variant": variant})
    assert answer.is_success, answer.text
    return answer


async def moment(tenant: Tenant, *written: httpx.Response) -> str:
    """A time after these writes were appended, and before anything that follows: append times are in milliseconds."""
    await tenant.api.get("/v1/flags", params=seen(*written))
    now = datetime.now(UTC)
    while datetime.now(UTC) < now + timedelta(milliseconds=2):
        await asyncio.sleep(0)
    return now.isoformat()


class TestAsOf:
    async def test_a_time_shows_a_thing_as_it_was(self, tenant: Tenant) -> None:
        between = await moment(tenant, await flag(tenant, "lamp", "red"))
        last = await flag(tenant, "lamp", "blue")
        now = await tenant.api.get("/v1/flags/lamp", params=seen(last))
        then = await tenant.api.get("/v1/flags/lamp", params={"as-of": between, **seen(last)})
        assert (now.json()["variant"], then.json()["variant"]) == ("blue", "red")
        assert then.headers["ETag"] == '"1"'
        assert then.headers["Aybiza-As-Of"].endswith("Z")
        assert then.headers["Aybiza-Position"] != last.headers["Aybiza-Position"]

    async def test_a_position_shows_a_thing_as_it_was(self, tenant: Tenant) -> None:
        first = await flag(tenant, "lamp", "red")
        last = await flag(tenant, "lamp", "blue")
        then = await tenant.api.get("/v1/flags/lamp", params={"as-of": first.headers["Aybiza-Position"], **seen(last)})
        assert then.json()["variant"] == "red"
        assert then.headers["Aybiza-Position"] == first.headers["Aybiza-Position"]

    async def test_shows_a_list_as_it_was(self, tenant: Tenant) -> None:
        agents = [await tenant.api.post("/v1/agents", json={"name": f"Ann {number}"}) for number in range(3)]
        between = await moment(tenant, *agents)
        later = await tenant.api.post("/v1/agents", json={"name": "Ann 3"})
        first = (await tenant.api.get("/v1/agents", params={"as-of": between, "limit": "2", **seen(later)})).json()
        second = (await tenant.api.get("/v1/agents", params={"as-of": between, "limit": "2", "cursor": first["next_cursor"]})).json()
        assert [agent["name"] for agent in first["data"] + second["data"]] == ["Ann 2", "Ann 1", "Ann 0"]
        assert not second["has_more"]

    async def test_shows_every_version_though_other_facts_lie_between(self, tenant: Tenant) -> None:
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        configuration = {"name": "Ann", "version": "1", "system_prompt": "You are Ann.", "greeting": "Hello."}
        await tenant.api.post(f"/v1/agents/{agent}/versions", json=configuration)
        for name in ("Bea", "Cleo", "Dora"):
            await tenant.api.patch(f"/v1/agents/{agent}", json={"name": name})
        last = await tenant.api.post(f"/v1/agents/{agent}/versions", json=configuration | {"version": "2"})
        params = {"as-of": last.headers["Aybiza-Position"], "limit": "2", **seen(last)}
        shown = (await tenant.api.get(f"/v1/agents/{agent}/versions", params=params)).json()
        assert ([each["label"] for each in shown["data"]], shown["has_more"]) == (["1", "2"], False)

    async def test_says_where_it_did_not_look_further(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(past, "_MOST_STREAMS", 1)
        monkeypatch.setattr(past, "_AT_ONCE", 1)
        both = [await flag(tenant, name, "on") for name in ("lamp", "door")]
        answer = await tenant.api.get("/v1/flags", params={"as-of": await moment(tenant, *both)})
        assert (len(answer.json()["data"]), "only 1" in answer.headers["Warning"]) == (1, True)

    async def test_shows_the_numbers_that_were_held(self, tenant: Tenant, stranger: Tenant, unique: str) -> None:
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        number = f"+1202555{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        between = await moment(tenant, await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": agent}))
        released = await tenant.api.delete(f"/v1/numbers/{number}")
        assert (await tenant.api.get("/v1/numbers", params=seen(released))).json()["data"] == []
        held = (await tenant.api.get("/v1/numbers", params={"as-of": between, **seen(released)})).json()["data"]
        assert [each["number"] for each in held] == [number]
        assert (await stranger.api.get("/v1/numbers", params={"as-of": between})).json()["data"] == []

    async def test_says_up_to_where_it_is_true_also_where_nothing_was(self, tenant: Tenant) -> None:
        place = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).headers["Aybiza-Position"]
        answer = await tenant.api.get("/v1/flags", params={"as-of": place, "min-position": place})
        assert answer.json()["data"] == []
        assert (answer.headers["Aybiza-Position"], answer.headers["Aybiza-As-Of"][-1]) == (place, "Z")

    async def test_before_a_thing_was_finds_nothing(self, tenant: Tenant) -> None:
        before = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
        last = await flag(tenant, "lamp", "red")
        assert refusal(await tenant.api.get("/v1/flags/lamp", params={"as-of": before, **seen(last)})) == (404, "not-found")
        assert (await tenant.api.get("/v1/flags", params={"as-of": before, **seen(last)})).json()["data"] == []

    async def test_shows_nothing_of_another_organisation(self, tenant: Tenant, stranger: Tenant) -> None:
        between = await moment(tenant, await flag(tenant, "lamp", "red"))
        nothing = await stranger.api.get("/v1/flags/lamp", params={"as-of": between})
        assert refusal(nothing) == (404, "not-found")
        assert nothing.headers["Aybiza-As-Of"].endswith("Z")
        assert (await stranger.api.get("/v1/flags", params={"as-of": between})).json()["data"] == []

    @pytest.mark.parametrize("as_of", ["yesterday", "2026-01-01T00:00:00", "2999-01-01T00:00:00Z", "aybiza.other.v1/0/1/1/" + "0" * 32, "",
                                       "0001-01-01T00:00:00+14:00"])  # fmt: skip
    async def test_refuses_the_future_and_what_is_no_time(self, tenant: Tenant, as_of: str) -> None:
        assert refusal(await tenant.api.get("/v1/flags", params={"as-of": as_of})) == (400, "bad-as-of")

    async def test_refuses_a_place_that_is_not_there_yet(self, tenant: Tenant) -> None:
        topic, partition, _, term, claim = (await flag(tenant, "lamp", "red")).headers["Aybiza-Position"].split("/")
        beyond = f"{topic}/{partition}/99999999/{term}/{claim}"
        assert refusal(await tenant.api.get("/v1/flags", params={"as-of": beyond})) == (400, "bad-as-of")
