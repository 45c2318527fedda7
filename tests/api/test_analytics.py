"""What can be charted, over HTTP."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from commands.calls.deciding import CALLS
from commands.calls.orders import Witness
from commands.dispatch import Order
from commands.rates import Price
from commands.usage import USAGE, RecordUsage
from events.calls.talking import AgentTurn, Evidence, Latency, Spent
from events.streams import StreamId
from events.usage import Meter, UsageLine
from infra.adapters.postgres import journal
from tests.api.asking import refusal
from tests.api.platform import Platform, Tenant
from tests.api.test_calls import OVER, call_under_way, subject_of

pytestmark = pytest.mark.asyncio(loop_scope="package")


def span(**more: str) -> dict[str, str]:
    now = datetime.now(UTC)
    return {"from": (now - timedelta(days=2)).isoformat(), "to": (now + timedelta(hours=1)).isoformat(), **more}


class TestAnswers:
    async def test_ask_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/analytics/answers", params=span())) == (401, "unauthenticated")

    async def test_are_counted_with_their_stages_for_the_organisation_alone(
        self, running: Platform, tenant: Tenant, stranger: Tenant
    ) -> None:
        call = await call_under_way(running, tenant)
        said = running.key_ring.seal(subject_of(running, tenant), "yes")
        last = None
        for turn, response_ms in enumerate((180, 420, 430), start=1):
            stages = Latency(speech_ended_ms=1_000, turn_decided_ms=1_050, first_token_ms=1_100, on_wire_ms=1_000 + response_ms)
            fact = AgentTurn(
                turn=turn, said=said, heard=said, evidence=Evidence.PLAYED, interrupted=turn == 1, started_ms=1, ended_ms=2,
                latency=stages, spent=Spent(model="claude", input_tokens=10, output_tokens=2, characters=3),
            )  # fmt: skip
            last = await running.do(CALLS, call, Witness(fact=fact))
        assert last is not None
        params = span(per="day", **{"min-position": str(last.position)})
        answer = await tenant.api.get("/v1/analytics/answers", params=params)
        counted = {each["model"]: each for each in answer.json()["data"]}["claude"]
        assert {name: counted[name] for name in ("model", "answers", "interrupted", "input_tokens")} == {
            "model": "claude", "answers": 3, "interrupted": 1, "input_tokens": 30,
        }  # fmt: skip
        assert (counted["response_ms_p50"], counted["response_ms_p95"], counted["response_ms_largest"]) == (500, 500, 430)
        assert (counted["response_ms_mean"], counted["endpointing_ms_mean"], counted["thinking_ms_mean"]) == (343.3, 50.0, 50.0)
        assert (await stranger.api.get("/v1/analytics/answers", params=params)).json()["data"] == []

    async def test_as_of_a_place_count_what_had_been_appended(self, running: Platform, tenant: Tenant) -> None:
        call = await call_under_way(running, tenant)
        said = running.key_ring.seal(subject_of(running, tenant), "yes")
        told = []
        for turn, response_ms in ((2, 400), (3, 900)):
            fact = AgentTurn(
                turn=turn, said=said, heard=said, evidence=Evidence.PLAYED, interrupted=False, started_ms=1, ended_ms=2,
                latency=Latency(speech_ended_ms=1_000, on_wire_ms=1_000 + response_ms), spent=Spent(model="claude", output_tokens=turn),
            )  # fmt: skip
            told.append(await running.do(CALLS, call, Witness(fact=fact)))
        params = {"min-position": str(told[-1].position)}
        for per in ("hour", "day"):
            now = await tenant.api.get("/v1/analytics/answers", params=span(per=per, **params))
            then = [
                await tenant.api.get("/v1/analytics/answers", params=span(per=per, **params, **{"as-of": str(each.position)}))
                for each in told
            ]
            assert then[1].json() == now.json()
            (before,) = [each for each in then[0].json()["data"] if each["model"] == "claude"]
            assert (before["answers"], before["response_ms_largest"], before["output_tokens"]) == (1, 400, 2)
            assert [answer.headers["Aybiza-Position"] for answer in then] == [str(each.position) for each in told]

    async def test_as_of_a_time_go_by_when_it_was_appended_and_not_by_when_it_happened(self, running: Platform, tenant: Tenant) -> None:
        first = await call_under_way(running, tenant)
        said = running.key_ring.seal(subject_of(running, tenant), "yes")
        between = datetime.now(UTC)
        while datetime.now(UTC) < between + timedelta(milliseconds=2):
            await asyncio.sleep(0)
        fact = AgentTurn(
            turn=2, said=said, heard=said, evidence=Evidence.PLAYED, interrupted=False, started_ms=1, ended_ms=2, latency=Latency(),
            spent=Spent(model="claude"),
        )  # fmt: skip
        # A worker may tell late what happened long before.
        order = Order(command_id=os.urandom(16), digest=os.urandom(16), actor="worker", occurred_at=between - timedelta(hours=3))
        last = await running.owners(CALLS, first, Witness(fact=fact), order)
        params = span(per="hour", **{"min-position": str(last.position)})
        shown = [each["model"] for each in (await tenant.api.get("/v1/analytics/answers", params=params)).json()["data"]]
        assert sorted(shown) == ["claude", "m"]
        answer = await tenant.api.get("/v1/analytics/answers", params={**params, "as-of": between.isoformat()})
        assert [each["model"] for each in answer.json()["data"]] == ["m"]

    async def test_as_of_a_time_are_refused_where_too_many_would_be_counted_anew(
        self, running: Platform, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call = await call_under_way(running, tenant)
        last = await running.do(CALLS, call, OVER)
        monkeypatch.setattr(journal, "_MOST_ENTRIES", 0)
        params = span(**{"as-of": str(last.position), "min-position": str(last.position)})
        assert refusal(await tenant.api.get("/v1/analytics/answers", params=params)) == (400, "bad-as-of")

    async def test_are_refused_where_there_would_be_too_many(self, tenant: Tenant) -> None:
        params = {"from": "2025-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z", "per": "minute"}
        assert refusal(await tenant.api.get("/v1/analytics/answers", params=params)) == (422, "invalid-request")


class TestUsage:
    async def test_is_counted_with_what_it_costs(self, running: Platform, tenant: Tenant) -> None:
        line = UsageLine(
            turn=0, meter=Meter.TELEPHONY_SECONDS, provider="twilio", quantity=Decimal(60), embedded=False, estimated=False
        )  # fmt: skip
        price = Price(unit_price=Decimal("0.0002"), rate="r")
        command = RecordUsage(
            call_id="call_x", lines=(line,), currency="USD", rate_table="t", prices={("twilio", Meter.TELEPHONY_SECONDS): price}
        )
        last = await running.do(USAGE, StreamId(tenant.id, "usage", "call_x"), command)
        params = span(**{"min-position": str(last.position)})
        (counted,) = (await tenant.api.get("/v1/analytics/usage", params=params)).json()["data"]
        assert (counted["meter"], counted["provider"], counted["quantity"]) == ("telephony-seconds", "twilio", "60")
        assert [each["currency"] for each in counted["amounts"]] == ["USD"]
        assert counted["price_verified"] is True
        assert (await tenant.api.get("/v1/analytics/calls", params=params)).json()["data"] == []
