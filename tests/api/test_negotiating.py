"""What a request says of the answer that it takes: without a body, only if it is another, in which media types."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.negotiating import is_known, tags_in
from tests.api.asking import refusal, seen
from tests.api.platform import Tenant

inside = pytest.mark.asyncio(loop_scope="package")
ON = {"enabled": True, "variant": "on"}
# What says when, or how much was asked meanwhile, is another each time.
_OF_THE_MOMENT = {"date", "aybiza-trace-id", "ratelimit", "aybiza-position", "x-ratelimit-remaining", "x-ratelimit-reset"}


def told(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _OF_THE_MOMENT}


async def lamp(tenant: Tenant) -> httpx.Response:
    made = await tenant.api.put("/v1/flags/lamp", json=ON)
    return await tenant.api.get("/v1/flags/lamp", params=seen(made))


@inside
class TestHead:
    async def test_is_what_a_read_is_without_its_body(self, tenant: Tenant) -> None:
        await lamp(tenant)
        for path in ("/v1/flags/lamp", "/v1/flags", "/v1/flags/nothing", "/health", "/openapi.json", "/"):
            whole, head = await tenant.api.get(path), await tenant.api.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            if whole.status_code == 200 and path != "/health":
                assert told(head) == told(whole), path

    async def test_does_not_wait_for_a_body_that_goes_on(self, tenant: Tenant) -> None:
        head = await tenant.api.head("/v1/events")
        assert (head.status_code, head.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")

    async def test_is_let_in_like_a_read(self, anonymous: httpx.AsyncClient, tenant: Tenant) -> None:
        assert (await anonymous.head("/v1/flags")).status_code == 401
        nowhere = await tenant.api.head("/v1/consents/+14155550123/check")
        assert nowhere.status_code in {404, 405}
        assert "HEAD" in (await tenant.api.delete("/v1/flags")).headers["Allow"]


@inside
class TestIfNoneMatch:
    async def test_is_answered_with_304_while_nothing_has_changed(self, tenant: Tenant) -> None:
        found = await lamp(tenant)
        tag = found.headers["ETag"]
        for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            for ask in (tenant.api.get, tenant.api.head):
                same = await ask("/v1/flags/lamp", headers={"If-None-Match": known})
                assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
                assert {"aybiza-position", "ratelimit", "aybiza-trace-id"} <= same.headers.keys()
        changed = await tenant.api.put("/v1/flags/lamp", json=ON | {"variant": "dim"})
        other = await tenant.api.get("/v1/flags/lamp", headers={"If-None-Match": tag}, params=seen(changed))
        assert (other.status_code, other.json()["variant"]) == (200, "dim")

    async def test_is_sent_whole_where_the_tag_does_not_tell_all(self, tenant: Tenant) -> None:
        agent = (await tenant.api.post("/v1/agents", json={"name": "Ann"})).json()["id"]
        number = await tenant.api.post("/v1/numbers", json={"number": "+12025550163", "agent_id": agent})
        path = f"/v1/numbers/{number.json()['number']}"
        tag = {"If-None-Match": (await tenant.api.get(path, params=seen(number))).headers["ETag"]}
        assert (await tenant.api.get(path, headers=tag)).status_code == 304
        assert (await tenant.api.get(path, headers=tag, params={"expand": "agent"})).status_code == 200

    async def test_is_of_no_use_for_what_is_not_there_and_for_a_change(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.get("/v1/flags/lamp", headers={"If-None-Match": "*"})) == (404, "not-found")
        refused = await tenant.api.put("/v1/flags/lamp", json=ON, headers={"If-None-Match": "*"})
        assert refusal(refused) == (400, "bad-precondition")


@inside
class TestIfMatch:
    async def test_takes_any_of_several(self, tenant: Tenant) -> None:
        tag = (await lamp(tenant)).headers["ETag"]
        for known, status in ((f'"7", {tag}', 200), ('"7", "8"', 412), (f"W/{tag}", 412), ('"x" "y"', 400), (",", 400)):
            answer = await tenant.api.put("/v1/flags/lamp", json=ON, headers={"If-Match": known})
            assert answer.status_code == status, known


@inside
class TestMediaTypes:
    @pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/*, text/*;q=0.5", "application/json;q=0, */*"])
    async def test_that_are_not_answered_are_refused(self, tenant: Tenant, accept: str) -> None:
        for answer in (
            await tenant.api.get("/v1/flags", headers={"Accept": accept}),
            await tenant.api.put("/v1/flags/lamp", json=ON, headers={"Accept": accept}),
        ):
            assert refusal(answer) == (406, "not-acceptable")
        assert (await tenant.api.get("/v1/flags/lamp")).status_code == 404

    @pytest.mark.parametrize(
        "accept", ["", "*/*", "application/*", "text/html, application/json;q=0.1", "APPLICATION/JSON", "text/html,*/*;q=0.8"]
    )
    async def test_among_which_is_ours_are_answered(self, tenant: Tenant, accept: str) -> None:
        assert (await tenant.api.get("/v1/flags", headers={"Accept": accept})).status_code == 200
        assert (await tenant.api.put("/v1/flags/lamp", json=ON, headers={"Accept": accept})).status_code == 200

    @pytest.mark.parametrize(
        "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"]
    )
    async def test_of_bodies_that_are_not_taken_are_refused(self, tenant: Tenant, kind: str) -> None:
        answer = await tenant.api.put("/v1/flags/lamp", content='{"enabled": true, "variant": "on"}', headers={"Content-Type": kind})
        assert refusal(answer) == (415, "unsupported-media-type")
        assert "application/json" in answer.headers["Accept"]


@given(
    st.lists(st.tuples(st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E), max_size=5), st.booleans()), min_size=1, max_size=5)
)
def test_a_list_of_tags_is_read_as_it_was_written(tags: list[tuple[str, bool]]) -> None:
    written = ", ".join(f'{"W/" if weak else ""}"{tag}"' for tag, weak in tags)
    assert tags_in(written) == [(f'"{tag}"', weak) for tag, weak in tags]
    assert is_known(written, f'"{tags[-1][0]}"')


@given(st.text(max_size=40))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    assert tags_in(text) is None or tags_in(text)
    is_known(text, '"1"')
