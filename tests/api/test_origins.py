"""Pages of other sites: which may ask, what they may read, and what nobody's page may."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio

from tests.api.people import joined
from tests.api.platform import Platform, Tenant, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
OURS = {"Origin": "https://app.example"}
BEFOREHAND = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,if-match"}


@pytest_asyncio.fixture(loop_scope="package")
async def open_to_pages(running: Platform) -> AsyncIterator[Platform]:
    async with served(replace(running.ports, browser_origins=frozenset({"https://app.example"}))) as url:
        yield replace(running, url=url)


def readable(answer: httpx.Response) -> str | None:
    """By whose pages."""
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers.get("access-control-allow-origin") != "*"
    return None if "access-control-allow-origin" not in answer.headers else str(answer.headers["access-control-allow-origin"])


class TestPage:
    async def test_of_a_site_that_is_named_may_ask_and_read(self, open_to_pages: Platform, tenant: Tenant) -> None:
        ada = await joined(open_to_pages, tenant, f"ada.{os.urandom(4).hex()}@example.com", "owner")
        async with open_to_pages.client() as page:
            asked = await page.options("/v1/flags/lamp", headers=OURS | BEFOREHAND)
            assert (asked.status_code, readable(asked)) == (204, OURS["Origin"])
            assert {"authorization", "if-match"} <= set(asked.headers["access-control-allow-headers"].lower().split(", "))
            assert "PUT" in asked.headers["access-control-allow-methods"]
            # It can read why it is not let in.
            assert readable(await page.get("/v1/flags", headers=OURS)) == OURS["Origin"]
        async with ada.client(open_to_pages) as page:
            answer = await page.put("/v1/flags/lamp", json={"enabled": True, "variant": "on"}, headers=OURS)
            assert (answer.status_code, readable(answer), answer.headers["Vary"]) == (200, OURS["Origin"], "Origin")
            exposed = {each.lower() for each in answer.headers["access-control-expose-headers"].split(", ")}
            assert {"etag", "aybiza-position", "ratelimit", "location", "deprecation", "sunset"} <= exposed
            # Whoever names no page is answered as ever.
            assert readable(await page.get("/v1/flags")) is None

    async def test_of_any_other_site_may_not(self, open_to_pages: Platform, tenant: Tenant) -> None:
        async with open_to_pages.client() as page:
            for origin in ("https://other.example", "http://app.example", "null", "https://app.example.other"):
                asked = await page.options("/v1/flags/lamp", headers={"Origin": origin} | BEFOREHAND)
                assert (asked.status_code, readable(asked), asked.headers["Vary"]) == (204, None, "Origin")
                assert readable(await page.get("/v1/flags", headers={"Origin": origin})) is None

    async def test_reads_no_answer_to_a_key(self, open_to_pages: Platform, tenant: Tenant) -> None:
        async with open_to_pages.client(tenant.key) as page:
            answer = await page.get("/v1/flags", headers=OURS)
        assert (answer.status_code, readable(answer)) == (200, None)

    async def test_may_not_at_all_where_no_site_is_named(self, anonymous: httpx.AsyncClient) -> None:
        asked = await anonymous.options("/v1/flags/lamp", headers=OURS | BEFOREHAND)
        assert (asked.is_success, readable(asked)) == (False, None)
