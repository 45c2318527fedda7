"""What became of calls in all, over HTTP."""

import httpx
import pytest

from api import past
from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, EndCall, ReceiveCall, Witness
from commands.dispatch import Committed
from events.calls.ending import EndedBy, Stage
from events.calls.talking import AgentTurn, Evidence, Latency, Spent
from events.streams import PLATFORM, StreamId
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, fresh_call_id
from tests.api.test_calls import CALLER, subject_of

pytestmark = pytest.mark.asyncio(loop_scope="package")
ANSWER = AnswerCall(stream_sid="MZ1", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)


async def agent(tenant: Tenant) -> str:
    """Its id, once it can be seen."""
    made = await tenant.api.post("/v1/agents", json={"name": "Ann"})
    await tenant.api.get("/v1/agents", params=seen(made))
    return str(made.json()["id"])


async def call(running: Platform, tenant: Tenant, agent_id: str, number: str, *, duration_ms: int | None) -> Committed:
    """A call in which one answer took 400 ms; None: it was not answered."""
    ring, stream, subject = running.key_ring, StreamId(tenant.id, "calls", fresh_call_id()), subject_of(running, tenant)
    received = ReceiveCall(
        call_sid=f"CA{stream.id[5:]}", caller=ring.seal(subject, CALLER), caller_ref=ring.reference(tenant.id, CALLER),
        number=ring.seal(tenant.id, number), number_ref=ring.reference(PLATFORM, number), agent_id=agent_id, agent_version="1",
        agent_version_hash="ab" * 32,
    )  # fmt: skip
    said = ring.seal(subject, "yes")
    turn = AgentTurn(
        turn=1, said=said, heard=said, evidence=Evidence.PLAYED, interrupted=False, started_ms=1, ended_ms=2,
        latency=Latency(speech_ended_ms=1_000, on_wire_ms=1_400), spent=Spent(model="m"),
    )  # fmt: skip
    over = EndCall(
        reason="goodbye" if duration_ms else "caller-hung-up", ended_by=EndedBy.CALLER,
        stage=Stage.CONVERSATION if duration_ms else Stage.RINGING, billable=bool(duration_ms), duration_ms=duration_ms or 0,
        recognition_ms=0,
    )  # fmt: skip
    commands = [received, ANSWER, Witness(fact=turn), over] if duration_ms else [received, over]
    return [await running.do(CALLS, stream, command) for command in commands][-1]


def upto(*committed: Committed) -> dict[str, list[str]]:
    return {"min-position": [str(each.position) for each in committed]}


class TestSummaries:
    @pytest.mark.parametrize("path", ["/v1/agents/agt_1/summary", "/v1/numbers/+14155550123/summary", "/v1/analytics/summary",
                                      "/v1/analytics/agents"])  # fmt: skip
    async def test_ask_strangers_for_a_key(self, anonymous: httpx.AsyncClient, path: str) -> None:
        assert refusal(await anonymous.get(path)) == (401, "unauthenticated")

    async def test_are_of_an_agent_of_ones_own(self, running: Platform, tenant: Tenant, stranger: Tenant) -> None:
        ours = await agent(tenant)
        last = await call(running, tenant, ours, "+14155550123", duration_ms=60_000)
        for asker, path in ((stranger, f"/v1/agents/{ours}/summary"), (tenant, "/v1/agents/agt_nobody/summary"),
                            (tenant, "/v1/agents/nobody/summary"), (tenant, "/v1/numbers/nobody/summary")):  # fmt: skip
            assert refusal(await asker.api.get(path, params=upto(last))) == (404, "not-found")
        assert (await stranger.api.get("/v1/analytics/summary", params=upto(last))).json()["calls"] == 0
        assert (await stranger.api.get("/v1/analytics/agents", params=upto(last))).json()["data"] == []

    async def test_combine_calls_of_every_partition(self, running: Platform, tenant: Tenant, unique: str) -> None:
        number = f"+1202555{int(unique[-6:], 16) % 9_000 + 1000:04d}"
        ours, others = await agent(tenant), await agent(tenant)
        await tenant.api.post("/v1/numbers", json={"number": number, "agent_id": ours})
        calls = [await call(running, tenant, ours, number, duration_ms=duration_ms) for duration_ms in (60_000, 3_000, None, 30_000)]
        more = 0
        while len({each.position.partition for each in calls}) == 1:
            calls.append(await call(running, tenant, ours, number, duration_ms=None))
            more += 1
        calls.append(await call(running, tenant, others, number, duration_ms=9_000))
        params = upto(*calls)
        shown = (await tenant.api.get(f"/v1/agents/{ours}/summary", params=params)).json()
        assert {name: shown[name] for name in ("calls", "answered", "ended", "short", "billable", "duration_ms", "longest_ms")} == {
            "calls": 4 + more, "answered": 3, "ended": 4 + more, "short": 1, "billable": 3, "duration_ms": 93_000, "longest_ms": 60_000,
        }  # fmt: skip
        assert (shown["short_share"], shown["response_ms_mean"], shown["answers"]) == (0.3333, 400.0, 3)
        assert shown["answer_rate"] == round(3 / (4 + more), 4)
        assert shown["first_call_at"] < shown["last_call_at"]
        assert (await tenant.api.get(f"/v1/numbers/{number}/summary", params=params)).json()["calls"] == 5 + more
        assert (await tenant.api.get("/v1/analytics/summary", params=params)).json()["duration_ms"] == 102_000
        first = (await tenant.api.get("/v1/analytics/agents", params={**params, "limit": "1"})).json()
        second = (await tenant.api.get("/v1/analytics/agents", params={"limit": "1", "cursor": first["next_cursor"]})).json()
        told = {each["agent_id"]: each["calls"] for each in first["data"] + second["data"]}
        assert (told, second["has_more"]) == ({ours: 4 + more, others: 1}, False)
        expanded = (await tenant.api.get(f"/v1/agents/{ours}", params={**params, "expand": "summary"})).json()
        assert expanded["expanded"]["summary"]["calls"] == 4 + more

    async def test_of_who_was_never_called_are_empty(self, tenant: Tenant) -> None:
        shown = (await tenant.api.get(f"/v1/agents/{await agent(tenant)}/summary")).json()
        assert (shown["calls"], shown["answer_rate"], shown["last_call_at"]) == (0, None, None)

    async def test_as_of_a_place_count_what_was_there(self, running: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        ours = await agent(tenant)
        first = await call(running, tenant, ours, "+14155550123", duration_ms=60_000)
        last = await call(running, tenant, ours, "+14155550123", duration_ms=7_000)
        params = {**upto(first, last), "as-of": str(first.position)}
        then = await tenant.api.get(f"/v1/agents/{ours}/summary", params=params)
        assert (then.json()["calls"], then.json()["duration_ms"]) == (1, 60_000)
        assert then.headers["Aybiza-Position"] == str(first.position)
        (listed,) = (await tenant.api.get("/v1/analytics/agents", params=params)).json()["data"]
        assert {name: listed[name] for name in then.json()} == then.json()
        monkeypatch.setattr(past, "_MOST_STREAMS", 1)
        monkeypatch.setattr(past, "_AT_ONCE", 1)
        assert refusal(await tenant.api.get(f"/v1/agents/{ours}/summary", params=params)) == (400, "bad-as-of")
