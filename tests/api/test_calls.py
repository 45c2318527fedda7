"""Calls over HTTP. What happened in them is put on the log by a worker of the test."""

import asyncio
import dataclasses
import io
import wave
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, EndCall, ReceiveCall, StartRecording, Witness
from commands.dispatch import Committed, LogUnavailable
from events.calls.ending import EndedBy, Stage
from events.calls.recording import RecordingStopOrdered
from events.calls.talking import AgentTurn, CallerTurn, Evidence, Latency, Spent
from events.calls.thinking import ToolAnswered, ToolRequested
from events.positions import Position
from events.recorded import Recorded
from events.registry import Fact
from events.sealing import Sealed
from events.streams import StreamId
from infra.adapters.keyfile import open_key_ring
from realtime.ports import RecordedStretch
from tests.api.asking import refusal, seen
from tests.api.platform import Platform, Tenant, fresh_call_id, served

pytestmark = pytest.mark.asyncio(loop_scope="package")
CALLER, NUMBER = "+14155550199", "+14155550123"
OVER = EndCall(
    reason="goodbye", ended_by=EndedBy.CALLER, stage=Stage.CONVERSATION, billable=True, duration_ms=5000, recognition_ms=4000
)  # fmt: skip


def subject_of(running: Platform, tenant: Tenant) -> str:
    """Under whose key the caller's words are sealed."""
    return f"{tenant.id}/{running.key_ring.reference(tenant.id, CALLER)}"


@pytest_asyncio.fixture(loop_scope="package")
async def call(running: Platform, tenant: Tenant) -> StreamId:
    return await call_under_way(running, tenant)


async def call_under_way(running: Platform, tenant: Tenant) -> StreamId:
    """A call in which each side has spoken once."""
    ring, stream = running.key_ring, StreamId(tenant.id, "calls", fresh_call_id())
    reference = ring.reference(tenant.id, CALLER)
    subject = subject_of(running, tenant)
    received = ReceiveCall(
        call_sid=f"CA{stream.id[5:]}", caller=ring.seal(subject, CALLER), caller_ref=reference, number=ring.seal(tenant.id, NUMBER),
        number_ref=ring.reference("platform", NUMBER), agent_id="agt_1", agent_version="2.1.0", agent_version_hash="ab" * 32,
        flags={"greeting": "short"},
    )  # fmt: skip
    answered = AnswerCall(stream_sid="MZ1", worker="w", recogniser="deepgram/nova-3", model_provider="bedrock", voice="aura", embedded=True)
    said = CallerTurn(
        turn=1, words=ring.seal(subject, "my name is Alice"), started_ms=100, ended_ms=900, recognised_ms=950, confidence=0.9
    )  # fmt: skip
    replied = AgentTurn(
        turn=1, said=ring.seal(subject, "Hello Alice. How are you?"), heard=ring.seal(subject, "Hello Alice."), evidence=Evidence.PLAYED,
        interrupted=True, started_ms=1200, ended_ms=2000, latency=Latency(speech_ended_ms=900, on_wire_ms=1190), spent=Spent(model="m"),
    )  # fmt: skip
    for command in (received, answered, Witness(fact=said), Witness(fact=replied)):
        await running.do(CALLS, stream, command)
    return stream


@pytest_asyncio.fixture(loop_scope="package")
async def position(running: Platform, call: StreamId) -> dict[str, str]:
    """The parameter by which a read shows the call as far as it got."""
    committed = await running.do(CALLS, call, Witness(fact=_words_of_nobody()))
    return {"min-position": str(committed.position)}


def _words_of_nobody() -> CallerTurn:
    """Sealed under a key that is not there: as after an erasure."""
    return CallerTurn(turn=2, words=Sealed("nobody/at-all", b"0" * 40), started_ms=2000, ended_ms=2400, recognised_ms=2450, confidence=0.5)


class TestListCalls:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient) -> None:
        assert refusal(await anonymous.get("/v1/calls")) == (401, "unauthenticated")

    async def test_shows_nothing_of_another_organisation(self, stranger: Tenant, position: dict[str, str]) -> None:
        assert (await stranger.api.get("/v1/calls", params=position)).json()["data"] == []

    async def test_is_refused_for_a_status_that_there_is_not(self, tenant: Tenant) -> None:
        assert refusal(await tenant.api.get("/v1/calls", params={"status": "lost"})) == (422, "invalid-request")

    async def test_shows_calls_as_they_stand(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        (shown,) = (await tenant.api.get("/v1/calls", params={"status": "in-progress", **position})).json()["data"]
        assert (shown["id"], shown["caller"], shown["number"], shown["turns"]) == (call.id, CALLER, NUMBER, 2)
        assert (await tenant.api.get("/v1/calls", params={"status": "ended"})).json()["data"] == []


class TestGetCall:
    async def test_finds_nothing_of_another_organisation(self, stranger: Tenant, call: StreamId, position: dict[str, str]) -> None:
        for tail in ("", "/timeline", "/turns", "/events", "/recording", "/usage"):
            assert refusal(await stranger.api.get(f"/v1/calls/{call.id}{tail}", params=position)) == (404, "not-found")

    async def test_shows_flags_agent_and_version(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        answer = await tenant.api.get(f"/v1/calls/{call.id}", params=position)
        shown = answer.json()
        assert (shown["flags"], shown["agent_version"], shown["recording"], shown["recorded"]) == (
            {"greeting": "short"}, "2.1.0", "never", False,
        )  # fmt: skip
        assert answer.headers["ETag"] == '"5"'


class TestTimeline:
    async def test_tells_what_was_said_and_what_was_heard(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        entries = (await tenant.api.get(f"/v1/calls/{call.id}/timeline", params=position)).json()["data"]
        caller, agent = entries[2:4]
        assert (caller["kind"], caller["words"]) == ("caller-turn", "my name is Alice")
        assert (agent["words"], agent["heard"], agent["evidence"]) == ("Hello Alice. How are you?", "Hello Alice.", "played")
        assert agent["latency"]["on_wire_ms"] == 1190

    async def test_has_no_words_of_a_person_who_was_erased(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        entries = (await tenant.api.get(f"/v1/calls/{call.id}/timeline", params=position)).json()["data"]
        assert (entries[4]["turn"], entries[4]["words"]) == (2, None)

    async def test_comes_in_pages(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        path, versions, cursor = f"/v1/calls/{call.id}/timeline", list[int](), ""
        while True:
            page = (await tenant.api.get(path, params={"limit": "2", **position, **({"cursor": cursor} if cursor else {})})).json()
            versions += [entry["version"] for entry in page["data"]]
            if not page["has_more"]:
                break
            cursor = page["next_cursor"]
        assert versions == [1, 2, 3, 4, 5]


class TestTurns:
    async def test_say_who_said_what_and_what_was_heard(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        first, second = (await tenant.api.get(f"/v1/calls/{call.id}/turns", params=position)).json()["data"]
        assert (first["turn"], [each["words"] for each in first["said"]]) == (1, ["my name is Alice"])
        (answer,) = first["answers"]
        assert (answer["heard"], answer["interrupted"], answer["latency"]["on_wire_ms"]) == ("Hello Alice.", True, 1190)
        # Whose words are erased has still spoken.
        assert (second["turn"], second["said"][0]["words"], second["answers"]) == (2, None, [])

    async def test_have_the_tools_that_were_asked_and_what_was_told_late(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        ring, subject = running.key_ring, subject_of(running, tenant)
        asked = ToolRequested(
            turn=1, tool="calendar", tool_use_id="t1", arguments=ring.seal(subject, '{"day": 1}'), idempotent=True, at_ms=1000
        )  # fmt: skip
        told = ToolAnswered(turn=1, tool="calendar", tool_use_id="t1", answer=ring.seal(subject, "free"), failed=False, at_ms=1100)
        for fact in (_words_of_nobody(), asked):
            await running.do(CALLS, call, Witness(fact=fact))
        last = await running.do(CALLS, call, Witness(fact=told))
        params = {"min-position": str(last.position)}
        first = (await tenant.api.get(f"/v1/calls/{call.id}/turns", params={**params, "limit": "1"})).json()
        assert first["data"][0]["tools"] == [
            {"tool": "calendar", "asked": '{"day": 1}', "answered": "free", "at_ms": 1000, "answered_ms": 1100, "failed": False}
        ]
        assert first["has_more"]
        rest = (await tenant.api.get(f"/v1/calls/{call.id}/turns", params={"cursor": first["next_cursor"]})).json()
        assert ([each["turn"] for each in rest["data"]], rest["has_more"]) == ([2], False)


class TestEvents:
    async def test_are_the_facts_with_their_places(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        facts = (await tenant.api.get(f"/v1/calls/{call.id}/events", params=position)).json()["data"]
        assert [fact["type"] for fact in facts] == [
            "call-received.v1", "call-answered.v1", "caller-turn.v1", "agent-turn.v1", "caller-turn.v1",
        ]  # fmt: skip
        assert facts[-1]["position"] == position["min-position"]
        assert facts[2]["data"]["words"] == "my name is Alice"
        assert facts[0]["actor"] == "worker:test"


class TestRecording:
    async def test_is_not_found_where_nothing_was_kept(self, tenant: Tenant, call: StreamId, position: dict[str, str]) -> None:
        assert refusal(await tenant.api.get(f"/v1/calls/{call.id}/recording", params=position)) == (404, "not-found")

    async def test_has_the_caller_left_and_the_agent_right(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        ended = await kept(running, tenant, call)
        answer = await tenant.api.get(f"/v1/calls/{call.id}/recording", params={"min-position": str(ended.position)})
        assert (answer.status_code, answer.headers["Content-Type"], answer.headers["Accept-Ranges"]) == (200, "audio/wav", "bytes")
        with wave.open(io.BytesIO(answer.content)) as sound:
            assert (sound.getnchannels(), sound.getframerate(), sound.getnframes()) == (2, 8000, 240)
            silent, first = sound.readframes(80), sound.readframes(1)
        assert silent == bytes(320)
        assert (int.from_bytes(first[:2], "little", signed=True), int.from_bytes(first[2:], "little", signed=True)) == (-32124, 32124)

    async def test_comes_in_the_ranges_that_are_asked_for(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        path, position = f"/v1/calls/{call.id}/recording", {"min-position": str((await kept(running, tenant, call)).position)}
        whole = (await tenant.api.get(path, params=position)).content
        for asked, first, last in (("0-43", 0, 43), ("40-400", 40, 400), ("400-", 400, 1003), ("-7", 997, 1003), ("401-401", 401, 401)):
            part = await tenant.api.get(path, params=position, headers={"Range": f"bytes={asked}"})
            assert (part.status_code, part.headers["Content-Range"]) == (206, f"bytes {first}-{last}/1004")
            assert part.content == whole[first : last + 1]
        beyond = await tenant.api.get(path, params=position, headers={"Range": "bytes=1004-"})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */1004")

    async def test_is_on_record_before_it_is_heard(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        position = {"min-position": str((await kept(running, tenant, call)).position)}
        answer = await tenant.api.get(f"/v1/calls/{call.id}/recording", params={**position, "reason": "a complaint"})
        facts = (await tenant.api.get(f"/v1/calls/{call.id}/events", params=seen(answer))).json()["data"]
        assert (facts[-1]["type"], facts[-1]["data"]["reason"]) == ("recording-listened.v1", "a complaint")
        assert facts[-1]["data"]["by"].startswith("api-key:key_")
        assert facts[-1]["actor"] == facts[-1]["data"]["by"]

    async def test_is_not_heard_where_that_cannot_be_put_on_record(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        position = {"min-position": str((await kept(running, tenant, call)).position)}

        async def away(*_: object, **__: object) -> Committed:
            raise LogUnavailable("the log is away", retry_after_ms=100)

        async with served(dataclasses.replace(running.ports, dispatch=away)) as url:
            headers = {"Authorization": tenant.api.headers["Authorization"]}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as deaf:
                answer = await deaf.get(f"/v1/calls/{call.id}/recording", params=position)
        assert answer.status_code == 503
        assert answer.headers["Content-Type"] == "application/problem+json"

    async def test_goes_on_over_a_second_media_stream(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        subject = subject_of(running, tenant)
        await running.keep(call, RecordedStretch(from_ms=10, caller=b"\x00" * 80, agent=b"\xff" * 80), subject)
        await running.keep(call, RecordedStretch(from_ms=5, caller=b"\x80" * 80, agent=b"\xff" * 80), subject, stream_sid="MZ2")
        ended = await running.do(CALLS, call, dataclasses.replace(OVER, duration_ms=15, recording=call.id))
        answer = await tenant.api.get(f"/v1/calls/{call.id}/recording", params={"min-position": str(ended.position)})
        with wave.open(io.BytesIO(answer.content)) as sound:
            left = [int.from_bytes(sound.readframes(1)[:2], "little", signed=True) for _ in range(sound.getnframes())]
        # The first stream's piece lasts until 20 ms; the second stream counts anew.
        assert (len(left), left[80], left[159], left[200], left[279]) == (280, -32124, -32124, 32124, 32124)

    async def test_is_not_found_once_the_caller_was_erased(self, running: Platform, tenant: Tenant, call: StreamId, tmp_path: Path) -> None:
        ring, store = open_key_ring(tmp_path / "wrapping.key")
        await running.keep(call, RecordedStretch(from_ms=0, caller=b"a", agent=b"b"), "nobody/at-all", ring=ring)
        store.close()
        ended = await running.do(CALLS, call, dataclasses.replace(OVER, recording=call.id))
        answer = await tenant.api.get(f"/v1/calls/{call.id}/recording", params={"min-position": str(ended.position)})
        assert refusal(answer) == (404, "not-found")


async def kept(running: Platform, tenant: Tenant, call: StreamId) -> Committed:
    """The call has ended, and 10 ms of its 30 are kept."""
    await running.keep(call, RecordedStretch(from_ms=10, caller=b"\x00" * 80, agent=b"\x80" * 80), subject_of(running, tenant))
    return await running.do(CALLS, call, dataclasses.replace(OVER, duration_ms=30, recording=call.id))


class TestHangUp:
    async def test_asks_strangers_for_a_key(self, anonymous: httpx.AsyncClient, call: StreamId) -> None:
        assert refusal(await anonymous.post(f"/v1/calls/{call.id}/hangup")) == (401, "unauthenticated")

    async def test_finds_nothing_of_another_organisation(self, stranger: Tenant, call: StreamId) -> None:
        assert refusal(await stranger.api.post(f"/v1/calls/{call.id}/hangup")) == (404, "not-found")

    async def test_is_refused_once_the_call_is_over(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        await running.do(CALLS, call, OVER)
        assert refusal(await tenant.api.post(f"/v1/calls/{call.id}/hangup")) == (409, "call-over")

    async def test_is_put_on_the_calls_stream(self, tenant: Tenant, call: StreamId) -> None:
        ordered = await tenant.api.post(f"/v1/calls/{call.id}/hangup", json={"reason": "shift ends"})
        assert ordered.status_code == 202
        facts = (await tenant.api.get(f"/v1/calls/{call.id}/events", params=seen(ordered))).json()["data"]
        assert (facts[-1]["type"], facts[-1]["data"]) == ("hang-up-ordered.v1", {"reason": "shift ends"})
        assert facts[-1]["actor"].startswith("api-key:key_")


class TestACallBackThatWasPromised:
    async def test_is_found_by_whoever_is_to_keep_it(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        other = await call_under_way(running, tenant)
        failed = await running.do(CALLS, call, dataclasses.replace(OVER, reason="voice-failed", ended_by=EndedBy.PLATFORM))
        ended = await running.do(CALLS, other, OVER)
        known = [str(failed.position), str(ended.position)]
        for promised, expected in ((True, [call.id]), (False, [other.id])):
            listed = await tenant.api.get("/v1/calls", params={"callback_promised": promised, "min-position": known})
            assert [each["id"] for each in listed.json()["data"]] == expected
        assert (await tenant.api.get(f"/v1/calls/{call.id}")).json()["callback_promised"] is True


class TestTransferAndHold:
    BODIES = (("transfer", {"destination": "desk", "reason": "asked"}), ("hold", {"reason": "asks"}), ("hold/end", {"reason": "knows"}))

    @pytest.mark.parametrize(("order", "body"), BODIES)
    async def test_needs_a_key_of_the_calls_own_organisation_and_a_call_under_way(
        self, running: Platform, tenant: Tenant, anonymous: httpx.AsyncClient, stranger: Tenant, call: StreamId, order: str,
        body: dict[str, str],
    ) -> None:  # fmt: skip
        assert refusal(await anonymous.post(f"/v1/calls/{call.id}/{order}", json=body)) == (401, "unauthenticated")
        assert refusal(await stranger.api.post(f"/v1/calls/{call.id}/{order}", json=body)) == (404, "not-found")
        await running.do(CALLS, call, OVER)
        assert refusal(await tenant.api.post(f"/v1/calls/{call.id}/{order}", json=body)) == (409, "call-over")

    async def test_is_put_on_the_calls_stream(self, tenant: Tenant, call: StreamId) -> None:
        for order, body in self.BODIES:
            ordered = await tenant.api.post(f"/v1/calls/{call.id}/{order}", json=body)
            assert ordered.status_code == 202
            facts = (await tenant.api.get(f"/v1/calls/{call.id}/events", params=seen(ordered))).json()["data"]
            assert (facts[-1]["type"], facts[-1]["data"]) == (f"{order.replace('/', '-')}-ordered.v1", body)


class TestStopRecording:
    async def test_finds_nothing_of_another_organisation(self, stranger: Tenant, call: StreamId) -> None:
        assert refusal(await stranger.api.post(f"/v1/calls/{call.id}/recording/stop")) == (404, "not-found")

    async def test_changes_nothing_where_nothing_is_recorded(self, tenant: Tenant, call: StreamId) -> None:
        answer = await tenant.api.post(f"/v1/calls/{call.id}/recording/stop")
        assert (answer.status_code, answer.headers["ETag"]) == (202, '"4"')

    async def test_is_put_on_the_calls_stream(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        reference = running.key_ring.reference(tenant.id, CALLER)
        await running.do(CALLS, call, StartRecording(caller_ref=reference, consent_version=1, at_ms=2500))
        ordered = await tenant.api.post(f"/v1/calls/{call.id}/recording/stop")
        assert (await tenant.api.get(f"/v1/calls/{call.id}", params=seen(ordered))).json()["recording"] == "stopping"

    async def test_follows_when_the_caller_withdraws_their_consent(self, running: Platform, tenant: Tenant, call: StreamId) -> None:
        granted = await tenant.api.post("/v1/consents", json={"caller": CALLER, "purpose": "recording", "evidence": "form 7"})
        reference = running.key_ring.reference(tenant.id, CALLER)
        version = int(granted.headers["ETag"].strip('"'))
        await running.do(CALLS, call, StartRecording(caller_ref=reference, consent_version=version, at_ms=2500))
        ordered: asyncio.Future[Position] = asyncio.get_running_loop().create_future()

        def watcher(fact: Recorded[Fact]) -> None:
            if isinstance(fact.fact, RecordingStopOrdered) and not ordered.done():
                ordered.set_result(fact.position)

        end = running.owners.watch(call, watcher)
        await tenant.api.delete(f"/v1/consents/{CALLER}/recording")
        async with asyncio.timeout(120):
            shown = await tenant.api.get(f"/v1/calls/{call.id}", params={"min-position": str(await ordered)})
        end()
        assert shown.json()["recording"] == "stopping"
