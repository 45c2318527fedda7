"""The carrier's webhook: signed or nothing, the same call for the same ring, a sentence where we cannot answer."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from xml.etree import ElementTree as ET

import httpx
import pytest
from twilio.request_validator import RequestValidator

from events.calls.ending import CallEnded, EndedBy, Stage
from events.calls.ringing import CallReceived
from events.numbers import UnassignedNumberCalled
from realtime.worker import WorkerSettings
from tests.commands.spool.call import call, failure, order
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER, ORGANISATION, Desk, Office, open_office

CALL_SID = "CA" + "0" * 32
RING = {"CallSid": CALL_SID, "AccountSid": "AC" + "0" * 32, "From": CALLER, "To": NUMBER, "CallStatus": "ringing"}


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    async with open_office(lambda _: [], desk=Desk(flags={"short-greeting": "on"})) as office:
        yield office


async def post(office: Office, path: str, form: Mapping[str, str], *, signature: str | None = None, signed_as: str = "") -> httpx.Response:
    """A request as the carrier sends it; `signed_as`: the address that was signed instead."""
    url = f"{office.public_url}{path}"
    right = RequestValidator(AUTH_TOKEN).compute_signature(signed_as or url, dict(form))
    headers = {} if signature == "" else {"X-Twilio-Signature": signature or right}
    async with httpx.AsyncClient() as http:
        return await http.post(url, data=dict(form), headers=headers)


async def ring(office: Office, **changes: str) -> httpx.Response:
    return await post(office, "/twilio/voice", RING | changes)


def verbs(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/xml")
    return [element.tag for element in ET.fromstring(answer.text)]  # noqa: S314 - our own answer


class TestSignature:
    @pytest.mark.parametrize("signature", ["", "x", "RSOYDt4T1cUTdK1PDd93/VVr8B8="])
    @pytest.mark.parametrize("path", ["/twilio/voice", "/twilio/voice/next?call=call_1&of=AYB-1", "/twilio/status"])
    async def test_that_is_wrong_or_missing_opens_nothing(self, office: Office, path: str, signature: str) -> None:
        answer = await post(office, path, RING, signature=signature)
        assert answer.status_code == 403
        assert office.log.streams == {}
        assert office.worker.counters["webhooks-forged"] == 1

    async def test_covers_the_public_address(self, office: Office) -> None:
        answer = await post(office, "/twilio/voice", RING, signed_as="https://elsewhere.example/twilio/voice")
        assert answer.status_code == 403

    async def test_covers_the_query(self, office: Office) -> None:
        answer = await post(office, "/twilio/voice/next?call=call_2", RING, signed_as=f"{office.public_url}/twilio/voice/next?call=call_1")
        assert answer.status_code == 403

    async def test_covers_the_form(self, office: Office) -> None:
        signature = RequestValidator(AUTH_TOKEN).compute_signature(office.webhook, RING)
        assert (await post(office, "/twilio/voice", RING | {"From": "+15550000"}, signature=signature)).status_code == 403


class TestRing:
    async def test_is_answered_with_a_stream_and_with_what_follows_it(self, office: Office) -> None:
        answer = await ring(office)
        assert verbs(answer) == ["Connect", "Redirect"]
        document = ET.fromstring(answer.text)  # noqa: S314 - our own answer
        stream = document.find("./Connect/Stream")
        assert stream is not None
        assert stream.get("url") == office.media_url
        assert stream.find("Parameter[@name='token']") is not None
        (received,) = office.log.facts("calls")
        (call,) = [stream for stream in office.log.streams if stream.category == "calls"]
        redirect = document.find("Redirect")
        assert redirect is not None
        where, _, begins_at = (redirect.text or "").partition("&at=")
        assert where == f"{office.public_url}/twilio/voice/next?call={call.id}&of={ORGANISATION}"
        assert re.fullmatch(r"[0-9]+\.1\.0{32}", begins_at)
        assert isinstance(received, CallReceived)
        assert (office.opened(received.caller), office.opened(received.number)) == (CALLER, NUMBER)
        assert received.flags == {"short-greeting": "on"}

    async def test_that_is_repeated_gets_the_same_call(self, office: Office) -> None:
        first, second = await ring(office), await ring(office)
        assert verbs(first) == verbs(second) == ["Connect", "Redirect"]
        assert len(office.log.facts("calls")) == 1
        assert office.worker.counters["rings"] == 1

    async def test_at_once_and_twice_gets_the_same_call(self, office: Office) -> None:
        await asyncio.gather(ring(office), ring(office), ring(office))
        assert len(office.log.facts("calls")) == 1

    async def test_of_a_number_that_nobody_owns_is_refused_in_words_and_noted(self, office: Office) -> None:
        assert verbs(await ring(office, To="+15550999")) == ["Say", "Hangup"]
        assert office.log.facts("numbers") == [UnassignedNumberCalled(call_sid=CALL_SID)]
        assert office.log.facts("calls") == []

    async def test_while_the_log_is_away_is_refused_in_words(self, office: Office) -> None:
        office.log.away = True
        assert verbs(await ring(office)) == ["Say", "Hangup"]
        assert office.worker.health()["ringing"] == 0

    async def test_while_facts_could_not_be_kept_is_refused_in_words(self, office: Office) -> None:
        office.disk.full = True
        stream, command = call(), failure(1)
        assert office.spool.keep(stream, "MZ1", 1, order(stream, 1, command), command)
        async with asyncio.timeout(120):
            while office.spool.accepts_calls:
                await asyncio.sleep(0.001)
        assert verbs(await ring(office)) == ["Say", "Hangup"]
        assert office.log.streams == {}
        assert office.worker.health()["rings-without-spool"] == 1
        office.disk.full = False
        await office.spool.settled()
        assert verbs(await ring(office)) == ["Connect", "Redirect"]

    async def test_that_was_taken_before_that_is_taken_still(self, office: Office) -> None:
        assert verbs(await ring(office)) == ["Connect", "Redirect"]
        office.disk.full = True
        stream, command = call(), failure(1)
        office.spool.keep(stream, "MZ1", 1, order(stream, 1, command), command)
        async with asyncio.timeout(120):
            while office.spool.accepts_calls:
                await asyncio.sleep(0.001)
        assert verbs(await ring(office)) == ["Connect", "Redirect"]
        office.disk.full = False

    async def test_in_doubt_is_seen_through(self, office: Office) -> None:
        office.log.doubtful = 2
        assert verbs(await ring(office)) == ["Connect", "Redirect"]
        assert len(office.log.facts("calls")) == 1

    @pytest.mark.parametrize("changes", [{"CallSid": "x"}, {"CallSid": "../" + CALL_SID}, {"From": ""}, {"To": "+" * 200}])
    async def test_that_is_no_ring_is_a_bad_request(self, office: Office, changes: Mapping[str, str]) -> None:
        assert (await ring(office, **changes)).status_code == 400
        assert office.log.streams == {}

    async def test_that_becomes_no_stream_ends_as_a_fact(self) -> None:
        async with open_office(lambda _: [], settings=WorkerSettings(name="w", connect_within_seconds=0.05)) as office:
            await ring(office)
            end = await office.log.until(CallEnded)
            assert (end.reason, end.ended_by, end.stage, end.billable) == ("media-never-started", EndedBy.CARRIER, Stage.RINGING, False)


class TestNext:
    async def test_of_a_call_whose_stream_never_came_is_an_apology_and_an_end(self, office: Office) -> None:
        await ring(office)
        (call,) = [stream for stream in office.log.streams if stream.category == "calls"]
        assert verbs(await post(office, f"/twilio/voice/next?call={call.id}&of={call.tenant}", RING)) == ["Say", "Hangup"]
        assert office.log.facts("calls")[-1].reason == "media-never-started"

    async def test_of_a_call_whose_worker_is_lost_is_an_apology_and_an_end(self, office: Office) -> None:
        await ring(office)
        (call,) = [stream for stream in office.log.streams if stream.category == "calls"]
        async with open_office(lambda _: [], log=office.log) as other:
            answer = await post(other, f"/twilio/voice/next?call={call.id}&of={call.tenant}", RING)
        assert verbs(answer) == ["Say", "Hangup"]
        assert office.log.facts("calls")[-1].reason == "worker-lost"

    async def test_of_a_call_that_nobody_knows_is_an_apology(self, office: Office) -> None:
        assert verbs(await post(office, f"/twilio/voice/next?call=call_1&of={ORGANISATION}", RING)) == ["Say", "Hangup"]
        assert office.log.facts("calls") == []

    @pytest.mark.parametrize("query", ["call=%3Cx%3E&of=AYB-1", "call=call_1", "other=1", "call=call_1&of=a%2Fb"])
    async def test_of_no_call_is_the_end(self, office: Office, query: str) -> None:
        assert verbs(await post(office, f"/twilio/voice/next?{query}", RING)) == ["Hangup"]


class TestLastWords:
    @pytest.mark.parametrize(
        ("language", "tag"), [("es", "es-MX"), ("es-ES", "es-ES"), ("EN-gb", "en-GB"), ("en", "en-US"), ("tlh", None), ("", None)]
    )
    async def test_are_said_in_their_language_where_the_carrier_has_a_voice_for_it(
        self, office: Office, language: str, tag: str | None
    ) -> None:  # fmt: skip
        office.worker.closing("call_1", "Adiós, señor <b>", language)
        answer = await post(office, f"/twilio/voice/next?call=call_1&of={ORGANISATION}", RING)
        assert verbs(answer) == ["Say", "Hangup"]
        said = ET.fromstring(answer.text)[0]  # noqa: S314 - our own answer
        assert (said.text, said.get("language")) == ("Adiós, señor <b>", tag)

    async def test_are_none_where_the_call_ended_as_it_should(self, office: Office) -> None:
        office.worker.closing("call_1", "", "es")
        assert verbs(await post(office, f"/twilio/voice/next?call=call_1&of={ORGANISATION}", RING)) == ["Hangup"]


class TestStatus:
    async def test_that_the_call_is_over_before_its_stream_ends_it(self, office: Office) -> None:
        await ring(office)
        answer = await post(office, "/twilio/status", RING | {"CallStatus": "completed"})
        assert answer.status_code == 204
        end = office.log.facts("calls")[-1]
        assert (end.reason, end.ended_by, end.stage) == ("caller-hung-up", EndedBy.CALLER, Stage.RINGING)

    @pytest.mark.parametrize("status", ["ringing", "in-progress", "nonsense"])
    async def test_of_anything_else_changes_nothing(self, office: Office, status: str) -> None:
        await ring(office)
        assert (await post(office, "/twilio/status", RING | {"CallStatus": status})).status_code == 204
        assert len(office.log.facts("calls")) == 1
