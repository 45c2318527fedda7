"""Usage over HTTP."""

from decimal import Decimal

import httpx
import pytest
import pytest_asyncio

from commands.rates import Price
from commands.usage import USAGE, RecordUsage
from events.streams import StreamId
from events.usage import Meter, UsageLine
from tests.api.asking import refusal
from tests.api.platform import Platform, Tenant, fresh_call_id

pytestmark = pytest.mark.asyncio(loop_scope="package")
READ_AT_ITS_SOURCE, AT_SECOND_HAND = "2026-11 twilio-us-inbound-local", "2026-11 deepgram-aura-2"
VOICE, MODEL, ODD = "deepgram/aura-2", "bedrock/claude", "odd/one"


def line(turn: int, meter: Meter, provider: str, quantity: str) -> UsageLine:
    return UsageLine(turn=turn, meter=meter, provider=provider, quantity=Decimal(quantity), embedded=provider == VOICE, estimated=False)


@pytest_asyncio.fixture(loop_scope="package")
async def counted(running: Platform, tenant: Tenant) -> tuple[str, dict[str, str]]:
    """A call whose usage is recorded, one line without a price; its id, and the parameter by which a read shows it."""
    call_id = fresh_call_id()
    command = RecordUsage(
        call_id=call_id,
        lines=(
            line(0, Meter.TELEPHONY_SECONDS, ODD, "41"),
            line(1, Meter.MODEL_INPUT_TOKENS, MODEL, "1000"),
            line(1, Meter.SYNTHESIS_CHARACTERS, VOICE, "42"),
        ),
        currency="USD",
        rate_table="2026-11",
        prices={
            (MODEL, Meter.MODEL_INPUT_TOKENS): Price(unit_price=Decimal("0.000003"), rate=READ_AT_ITS_SOURCE),
            (VOICE, Meter.SYNTHESIS_CHARACTERS): Price(unit_price=Decimal("0.00003"), rate=AT_SECOND_HAND),
        },
    )
    committed = await running.do(USAGE, StreamId(tenant.id, "usage", call_id), command)
    return call_id, {"min-position": str(committed.position)}


class TestGetCallUsage:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/calls/call_1/usage")) == (401, "unauthenticated")

    async def test_finds_nothing_of_another_organisation(self, stranger: Tenant, counted: tuple[str, dict[str, str]]) -> None:
        call_id, shown = counted
        assert refusal(await stranger.api.get(f"/v1/calls/{call_id}/usage", params=shown)) == (404, "not-found")

    async def test_finds_nothing_before_it_was_counted(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.get(f"/v1/calls/{fresh_call_id()}/usage")) == (404, "not-found")

    async def test_shows_each_line_with_its_price_in_cents(self, tenant: Tenant, counted: tuple[str, dict[str, str]]) -> None:
        call_id, shown = counted
        usage = (await tenant.api.get(f"/v1/calls/{call_id}/usage", params=shown)).json()
        assert usage["total"] == {"amount": "0.426", "currency": "USD"}
        assert (usage["rate_table"], usage["missing"]) == ("2026-11", ["odd/one telephony-seconds"])
        assert [(each["quantity"], each["amount"], each["rate"], each["embedded"]) for each in usage["lines"]] == [
            ("41", None, None, False),
            ("1000", {"amount": "0.3", "currency": "USD"}, READ_AT_ITS_SOURCE, False),
            ("42", {"amount": "0.126", "currency": "USD"}, AT_SECOND_HAND, True),
        ]

    async def test_says_which_amounts_rest_on_a_price_that_was_not_verified(
        self, tenant: Tenant, counted: tuple[str, dict[str, str]]
    ) -> None:  # fmt: skip
        call_id, shown = counted
        usage = (await tenant.api.get(f"/v1/calls/{call_id}/usage", params=shown)).json()
        assert [each["price_verified"] for each in usage["lines"]] == [None, True, False]
        assert usage["prices_verified"] is False
        (listed,) = (await tenant.api.get("/v1/usage", params={**shown, "fields": "prices_verified"})).json()["data"]
        assert listed == {"prices_verified": False}


class TestListUsage:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/usage")) == (401, "unauthenticated")

    async def test_shows_the_organisations_own(self, tenant: Tenant, stranger: Tenant, counted: tuple[str, dict[str, str]]) -> None:
        call_id, shown = counted
        assert [each["call_id"] for each in (await tenant.api.get("/v1/usage", params=shown)).json()["data"]] == [call_id]
        assert (await stranger.api.get("/v1/usage", params=shown)).json()["data"] == []
