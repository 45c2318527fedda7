"""A call is ended through the carrier's own SDK, and a request is the carrier's when its signature says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, encode_basic_auth

from infra.adapters.twilio import SignatureCheck, TwilioTelephony
from infra.emulators.twilio_rest import TwilioRestEmulator
from realtime.ports import EngineUnavailable

ACCOUNT = "AC" + "5" * 32
TOKEN = "12345"
CALL = "CA" + "1" * 32


@asynccontextmanager
async def carrier(token: str = TOKEN) -> AsyncIterator[tuple[TwilioTelephony, TwilioRestEmulator, list[str]]]:
    completed: list[str] = []
    emulator = TwilioRestEmulator(ACCOUNT, TOKEN, completed.append)
    emulator.begin(CALL)
    async with emulator.serving() as url, TwilioTelephony(ACCOUNT, token, base_url=url) as telephony:
        yield telephony, emulator, completed


class TestHangUp:
    async def test_ends_the_call(self) -> None:
        async with carrier() as (telephony, _, completed):
            await telephony.hang_up(CALL)
        assert completed == [CALL]

    async def test_of_a_call_that_has_ended_is_no_error(self) -> None:
        async with carrier() as (telephony, emulator, completed):
            emulator.end(CALL)
            await telephony.hang_up(CALL)
            await telephony.hang_up("CA" + "2" * 32)
        assert completed == []

    async def test_twice_ends_it_once(self) -> None:
        async with carrier() as (telephony, _, completed):
            await telephony.hang_up(CALL)
            await telephony.hang_up(CALL)
        assert completed == [CALL]

    async def test_with_a_wrong_token_is_unavailable(self) -> None:
        async with carrier(token="another") as (telephony, _, completed):
            with pytest.raises(EngineUnavailable, match="401, code 20003"):
                await telephony.hang_up(CALL)
        assert completed == []

    async def test_is_unavailable_when_nobody_answers(self) -> None:
        async with TwilioRestEmulator(ACCOUNT, TOKEN, lambda _: None).serving() as url:
            pass
        async with TwilioTelephony(ACCOUNT, TOKEN, base_url=url) as telephony:
            with pytest.raises(EngineUnavailable):
                await telephony.hang_up(CALL)

    async def test_is_unavailable_before_it_is_open(self) -> None:
        with pytest.raises(EngineUnavailable):
            await TwilioTelephony(ACCOUNT, TOKEN).hang_up(CALL)


class TestMove:
    async def test_has_the_carrier_ask_at_another_address(self) -> None:
        sent: list[tuple[str, str]] = []
        emulator = TwilioRestEmulator(ACCOUNT, TOKEN, lambda _: None, sent=lambda sid, url: sent.append((sid, url)))
        emulator.begin(CALL)
        async with emulator.serving() as url, TwilioTelephony(ACCOUNT, TOKEN, base_url=url) as telephony:
            assert await telephony.move(CALL, "https://voice.example/twilio/voice/next?call=call_1&of=AYB-1")
        assert sent == [(CALL, "https://voice.example/twilio/voice/next?call=call_1&of=AYB-1")]

    async def test_of_a_call_that_is_over_says_so(self) -> None:
        async with carrier() as (telephony, emulator, _):
            emulator.end(CALL)
            assert not await telephony.move(CALL, "https://voice.example/next")
            assert not await telephony.move("CA" + "2" * 32, "https://voice.example/next")
            assert await telephony.standing(CALL) == "completed"

    async def test_with_a_wrong_token_is_unavailable(self) -> None:
        async with carrier(token="another") as (telephony, _, _):
            with pytest.raises(EngineUnavailable, match="401, code 20003"):
                await telephony.move(CALL, "https://voice.example/next")


class TestTheEmulatedCarrier:
    @pytest.mark.parametrize(
        ("form", "code"),
        [
            ({"Status": "busy"}, 20001),
            ({"Status": "completed", "Url": "http://x"}, 20001),
            ({}, 20001),
            ({"Url": "voice/next", "Method": "POST"}, 21205),
        ],
    )
    async def test_refuses_other_updates(self, form: dict[str, str], code: int) -> None:
        async with carrier() as (_, emulator, completed), emulator.serving() as url, ClientSession() as http:
            path = f"{url}/2010-04-01/Accounts/{ACCOUNT}/Calls/{CALL}.json"
            headers = {"Authorization": encode_basic_auth(ACCOUNT, TOKEN)}
            async with http.post(path, data=form, headers=headers) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, code)
            async with http.post(path, json={"Status": "completed"}, headers=headers) as answer:
                assert answer.status == 400
        assert completed == []


class TestSignatureCheck:
    # Published by Twilio: "Webhooks security", validating signatures from Twilio.
    URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
    FORM = {  # noqa: RUF012 - read only
        "CallSid": "CA1234567890ABCDE", "Caller": "+14158675309", "Digits": "1234", "From": "+14158675309", "To": "+18005551212",
    }  # fmt: skip
    SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="

    def test_knows_the_published_example(self) -> None:
        assert SignatureCheck(TOKEN)(self.URL, self.FORM, self.SIGNATURE)

    @pytest.mark.parametrize("signature", ["", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "RSOYDt4T1cUTdK1PDd93/VVr8B8"])
    def test_refuses_another_signature(self, signature: str) -> None:
        assert not SignatureCheck(TOKEN)(self.URL, self.FORM, signature)

    def test_refuses_another_token_form_or_address(self) -> None:
        assert not SignatureCheck("54321")(self.URL, self.FORM, self.SIGNATURE)
        assert not SignatureCheck(TOKEN)(self.URL, {**self.FORM, "Digits": "1"}, self.SIGNATURE)
        assert not SignatureCheck(TOKEN)(self.URL.replace("foo=1", "foo=2"), self.FORM, self.SIGNATURE)
