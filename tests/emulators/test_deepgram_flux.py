"""The emulated Flux is as strict as the real one: who may come in, what is understood, and in which order turns are told."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.emulators.deepgram.server import deepgram_emulator
from infra.settings import Settings
from realtime.audio import silence
from tests.contracts.spoken import VOCABULARY, said

KEY = "a key of the tests"
FLUX = {"model": "flux-general-en", "encoding": "mulaw", "sample_rate": "8000"}
EAGER = {"eot_threshold": "0.7", "eager_eot_threshold": "0.5", "eot_timeout_ms": "1000"}
TERMS = [("keyterm", phrase) for phrase in VOCABULARY]


@pytest.fixture
async def recogniser(settings: Settings) -> AsyncIterator[Recogniser]:
    recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
    await recogniser.prepare(VOCABULARY)
    yield recogniser
    await recogniser.close()


@pytest.fixture
async def address(recogniser: Recogniser) -> AsyncIterator[str]:
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY, patience_seconds=120) as address:
        yield f"{address}/v2/listen"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Token {KEY}"}) as client:
        yield client


async def told_until(socket: aiohttp.ClientWebSocketResponse, *events: str) -> list[Mapping[str, Any]]:
    """Every message up to the first of these kinds or events."""
    found: list[Mapping[str, Any]] = []
    async with asyncio.timeout(120):
        while not found or not {found[-1].get("event"), found[-1]["type"]} & {*events}:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, f"closed with {socket.close_code}"
            found.append(message.json())
    return found


def held_to_the_state_machine(messages: list[Mapping[str, Any]]) -> list[str]:
    """Events that changed the turn's state, each found to be allowed where it stands."""
    assert messages[0]["type"] == "Connected"
    assert [message["sequence_id"] for message in messages] == list(range(len(messages)))
    assert len({message["request_id"] for message in messages}) == 1
    state, turn, eager, changes = "initial", 0, "", list[str]()
    for info in (message for message in messages if message["type"] == "TurnInfo"):
        event = info["event"]
        assert info["turn_index"] == turn
        assert info["audio_window_start"] <= info["audio_window_end"]
        assert info["transcript"] == " ".join(word["word"] for word in info["words"])
        assert ("trigger" in info) == (event == "EndOfTurn")
        match event:
            case "StartOfTurn":
                assert (state, bool(info["transcript"])) == ("initial", True)
                state = "going"
            case "EagerEndOfTurn":
                assert (state, bool(info["transcript"])) == ("going", True)
                state, eager = "awaiting", info["transcript"]
            case "TurnResumed":
                assert state == "awaiting"
                state = "going"
            case "EndOfTurn":
                assert state in ("going", "awaiting")
                assert state != "awaiting" or info["transcript"] == eager
                state, turn = "initial", turn + 1
            case "Update":
                assert state != "initial" or not info["transcript"]
                continue
        changes.append(event)
    return changes


class TestHandshake:
    @pytest.mark.parametrize(
        "change",
        [
            {"model": "nova-3"}, {"encoding": "opus"}, {"sample_rate": "16000"}, {"language": "en"}, {"interim_results": "true"},
            {"eot_threshold": "0.4"}, {"eot_threshold": "much"}, {"eager_eot_threshold": "0.2"}, {"eager_eot_threshold": "0.8"},
            {"eot_timeout_ms": "100"}, {"language_hint": "en"}, {"keyterm": "word " * 501},
        ],
    )  # fmt: skip
    async def test_is_refused_for_what_is_no_parameter(
        self, address: str, client: aiohttp.ClientSession, change: Mapping[str, str]
    ) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(address, params={**FLUX, **change})
        assert refused.value.status == 400

    async def test_needs_the_key(self, address: str, client: aiohttp.ClientSession) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(address, params=FLUX, headers={"Authorization": "Token another"})
        assert refused.value.status == 401


class TestTurns:
    async def test_are_told_in_the_order_that_is_published(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=[*FLUX.items(), *EAGER.items(), *TERMS])
        await socket.send_bytes(await said("I would like to book an appointment", after_ms=260))
        await socket.send_bytes(await said("on Tuesday morning please", before_ms=0, after_ms=1200))
        messages = await told_until(socket, "EndOfTurn")
        await socket.send_bytes(await said("thank you goodbye", after_ms=1200))
        messages += await told_until(socket, "EndOfTurn")
        await socket.close()
        once = ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
        assert held_to_the_state_machine(messages) == ["StartOfTurn", "EagerEndOfTurn", "TurnResumed", "EagerEndOfTurn", "EndOfTurn", *once]
        assert messages[-1]["trigger"] == "model"

    async def test_are_never_likely_over_where_nobody_asked_for_it(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=[*FLUX.items(), *TERMS])
        await socket.send_bytes(await said("please stop recording", after_ms=1200))
        assert held_to_the_state_machine(await told_until(socket, "EndOfTurn")) == ["StartOfTurn", "EndOfTurn"]
        await socket.close()

    async def test_end_by_their_time_where_the_words_do_not_end(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=[*FLUX.items(), *EAGER.items(), *TERMS])
        await socket.send_bytes(await said("I would like to", after_ms=1500))
        messages = await told_until(socket, "EndOfTurn")
        await socket.close()
        assert messages[-1]["trigger"] == "timeout"

    async def test_end_when_they_are_told_to(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=[*FLUX.items(), *TERMS])
        await socket.send_bytes(await said("please stop recording", after_ms=60))
        await socket.send_json({"type": "ForceEndTurn"})
        messages = await told_until(socket, "EndOfTurn")
        await socket.close()
        assert messages[-1]["trigger"] == "manual"
        assert held_to_the_state_machine(messages) == ["StartOfTurn", "EndOfTurn"]

    async def test_do_not_end_where_none_is_under_way(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=[*FLUX.items(), *TERMS])
        await socket.send_bytes(silence(400))
        await socket.send_json({"type": "ForceEndTurn"})
        await socket.send_json({"type": "Configure", "thresholds": {"eot_threshold": 0.9}})
        messages = await told_until(socket, "ConfigureSuccess")
        await socket.close()
        assert held_to_the_state_machine(messages) == []

    async def test_are_updated_four_times_a_second_whether_words_come_or_not(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=FLUX)
        for _ in range(50):
            await socket.send_bytes(silence(80))
        await socket.send_json({"type": "Configure", "thresholds": {}})
        messages = await told_until(socket, "ConfigureSuccess")
        await socket.close()
        assert 12 <= sum(message.get("event") == "Update" for message in messages) <= 16


class TestMessages:
    @pytest.mark.parametrize("text", ["no JSON", '{"type":"KeepAlive"}', '{"type":"Finalize"}', "[]", "{}"])
    async def test_that_are_none_of_the_protocols_end_it(self, address: str, client: aiohttp.ClientSession, text: str) -> None:
        socket = await client.ws_connect(address, params=FLUX)
        await socket.send_str(text)
        messages = await told_until(socket, "Error")
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
        assert messages[-1]["code"]
        assert socket.close_code == 1008

    async def test_that_configure_nonsense_change_nothing(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=FLUX)
        await socket.send_json({"type": "Configure", "thresholds": {"eot_threshold": 7}})
        assert (await told_until(socket, "ConfigureFailure"))[-1]["code"].startswith("CONFIGURE_")
        await socket.close()

    async def test_say_when_it_is_to_end(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(address, params=FLUX)
        await socket.send_json({"type": "CloseStream"})
        async with asyncio.timeout(120):
            assert [message.json()["type"] async for message in socket] == ["Connected"]
        assert socket.close_code == 1000
