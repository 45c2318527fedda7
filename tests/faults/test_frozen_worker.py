"""A voice worker is frozen in mid-call, its sockets open: the carrier is told to ask another one, and the caller hears the agent again.

It costs 50 s and is left out of the usual run, where `tests/realtime/test_moving.py` shows whom and whom not: FROZEN_WORKER=1 asks for it.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from pydantic import SecretStr

from events.calls.ending import CallEnded
from events.calls.ringing import CallAnswered, CallResumed
from events.calls.talking import CallerTurn, DisclosureSpoken
from events.recorded import Recorded
from events.registry import Fact
from infra.adapters.flite import synthesise
from infra.apps.demo_business.opening import CALLER, NUMBER
from infra.emulators.twilio.caller import Caller, Line
from infra.emulators.twilio.carrier import CarrierCall
from infra.emulators.twilio_rest import TwilioRestEmulator
from infra.settings import Settings
from realtime.audio import decode
from tests.faults.two_workers import opened
from tests.spoken.conversations import on_the_log, stretches

ACCOUNT, TOKEN = "AC" + "7" * 32, "the carriers"
# The session of its group, two unanswered questions, and the taking up.
_WITHIN_SECONDS = 15.0


@asynccontextmanager
async def carrier(calls: dict[str, CarrierCall], sent: list[str]) -> AsyncIterator[tuple[TwilioRestEmulator, str]]:
    """Its REST side, and where that is."""

    def send(call_sid: str, url: str) -> None:
        sent.append(call_sid)
        calls[call_sid].send(url)

    rest = TwilioRestEmulator(ACCOUNT, TOKEN, lambda sid: calls[sid].hang_up(), sent=send)
    async with rest.serving() as url:
        yield rest, url


@pytest.mark.skipif("FROZEN_WORKER" not in os.environ, reason="costs 50 s; FROZEN_WORKER=1 asks for it")
class TestAFrozenWorker:
    async def test_loses_its_call_to_another(self, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> None:
        calls, sent = dict[str, CarrierCall](), list[str]()
        loop = asyncio.get_running_loop()
        own = settings.model_copy(update={
            "state_dir": tmp_path_factory.mktemp("house") / "state", "twilio_account_sid": ACCOUNT, "twilio_auth_token": SecretStr(TOKEN),
        })  # fmt: skip
        async with AsyncExitStack() as stack, carrier(calls, sent) as (rest, base_url):
            account = {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN, "AYBIZA_TWILIO_API_BASE_URL": base_url}
            # Whoever takes the partitions over must be able to tell the carrier: the platform beside the two workers as well.
            house = await stack.enter_async_context(opened(own, **account))
            url = await house.pair(**account)
            lines = [
                Line(text=text, mulaw=await synthesise(text, voice="rms"), after_silence_ms=1600)
                for text in ("Yes, you may.", "Thanks a lot, goodbye.")
            ]
            heard = bytearray()
            call = CarrierCall(
                webhook=f"{url}/twilio/voice", account_sid=ACCOUNT, auth_token=TOKEN, number=NUMBER, caller_number=CALLER,
                caller=Caller(lines=lines[:1], patience_ms=30_000), to_ear=lambda _at, _said, played: heard.extend(played),
            )  # fmt: skip
            calls[call.call_sid] = call
            rest.begin(call.call_sid)
            placing = asyncio.create_task(call.place(), name="caller")
            disclosed = await on_the_log(house.reader, "calls", lambda found: isinstance(found.fact, DisclosureSpoken))
            answered = next(
                each.fact for each in await house.everything() if each.stream == disclosed.stream and isinstance(each.fact, CallAnswered)
            )
            await on_the_log(house.reader, "calls", lambda found: isinstance(found.fact, CallerTurn) and found.stream == disclosed.stream)
            house.signal(int(answered.worker.rpartition("-")[2]), signal.SIGSTOP)
            frozen, frozen_at = loop.time(), len(heard)

            def resumed_here(found: Recorded[Fact]) -> bool:
                return isinstance(found.fact, CallResumed) and found.stream == disclosed.stream

            async with asyncio.timeout(_WITHIN_SECONDS):
                resumed = await on_the_log(house.reader, "calls", resumed_here)
            took = loop.time() - frozen
            print(f"resumed after {took:.1f} s")  # noqa: T201 - for whoever runs it by hand
            assert isinstance(resumed.fact, CallResumed)
            assert resumed.fact.worker != answered.worker
            call.caller.lines = [*lines]
            await asyncio.wait_for(placing, 30)
            assert sent == [call.call_sid], "once"
            end = await on_the_log(
                house.reader, "calls", lambda found: isinstance(found.fact, CallEnded) and found.stream == disclosed.stream
            )
            assert isinstance(end.fact, CallEnded)
            assert end.fact.reason == "goodbye"
            assert any(began > 0 for began, _ in stretches(decode(bytes(heard[frozen_at:])))), "the caller hears the agent again"
