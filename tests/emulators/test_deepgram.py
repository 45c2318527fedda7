"""The emulated Deepgram is as strict as the real one: who may come in, what is understood, when it hangs up."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.emulators.deepgram.faults import Faults
from infra.emulators.deepgram.server import deepgram_emulator
from infra.emulators.deepgram.speaking import MOST_FLUSHES
from infra.settings import Settings
from realtime.audio import silence
from tests.contracts.spoken import VOCABULARY, said

KEY = "a key of the tests"
LISTEN = {"model": "nova-3", "encoding": "mulaw", "sample_rate": "8000", "interim_results": "true"}
SPEAK = {"model": "aura-2-thalia-en", "encoding": "mulaw", "sample_rate": "8000"}
SPOKEN_TO = [*LISTEN.items(), *(("keyterm", phrase) for phrase in VOCABULARY)]
PATIENCE_SECONDS = 1.2


@pytest.fixture
async def recogniser(settings: Settings) -> AsyncIterator[Recogniser]:
    recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
    await recogniser.prepare(VOCABULARY)
    yield recogniser
    await recogniser.close()


@pytest.fixture
async def address(recogniser: Recogniser) -> AsyncIterator[str]:
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY) as address:
        yield address


@pytest.fixture
async def hasty(recogniser: Recogniser) -> AsyncIterator[str]:
    """An emulator that waits for a sign of life no longer than half a second."""
    async with deepgram_emulator(recogniser=recogniser, api_key=KEY, patience_seconds=PATIENCE_SECONDS) as address:
        yield address


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Token {KEY}"}) as client:
        yield client


async def refusal(client: aiohttp.ClientSession, url: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(url, params=query, headers=headers)
    return refused.value.status


async def messages(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """Everything until the socket closes: bytes as they are, text as JSON."""
    async with asyncio.timeout(120):
        return [message.data if message.type is aiohttp.WSMsgType.BINARY else message.json() async for message in socket]


async def told(socket: aiohttp.ClientWebSocketResponse, kind: str) -> Any:
    """The next text message of a kind."""
    async with asyncio.timeout(120):
        while True:
            message = await socket.receive()
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), f"closed with {socket.close_code}"
            if message.type is aiohttp.WSMsgType.TEXT and message.json()["type"] == kind:
                return message.json()


class TestHandshake:
    @pytest.mark.parametrize(("path", "query"), [("/v1/listen", LISTEN), ("/v1/speak", SPEAK)])
    async def test_needs_the_key(self, address: str, client: aiohttp.ClientSession, path: str, query: Mapping[str, str]) -> None:
        assert await refusal(client, address + path, query, {"Authorization": "Token another"}) == 401
        assert await refusal(client, address + path, query, {"Authorization": f"Basic {KEY}"}) == 401

    @pytest.mark.parametrize(
        "change",
        [
            {"model": "nova-9"},
            {"language": "xx"},
            {"language": "en", "language_hint": "es"},
            {"language": "multi", "language_hint": "xx"},
            {"encoding": "opus"},
            {"sample_rate": "16000"},
            {"interim_results": "yes"},
            {"utterance_end_ms": "500"},
            {"utterance_end_ms": "1000", "interim_results": "false"},
            {"endpointing": "soon"},
            {"endpointin": "300"},
            {"keyterm": "word " * 501},
        ],
    )
    async def test_to_listen_is_refused_for_what_is_no_parameter(
        self, address: str, client: aiohttp.ClientSession, change: Mapping[str, str]
    ) -> None:
        assert await refusal(client, f"{address}/v1/listen", {**LISTEN, **change}) == 400

    @pytest.mark.parametrize(
        "change",
        [
            {"model": "nova-3"},
            {"model": "aura-2-thalia-xx"},
            {"model": "aura-2-thalia-en|polly/Joanna"},
            {"encoding": "mp3"},
            {"container": "wav"},
        ],
    )
    async def test_to_speak_is_refused_for_what_is_no_parameter(
        self, address: str, client: aiohttp.ClientSession, change: Mapping[str, str]
    ) -> None:
        assert await refusal(client, f"{address}/v1/speak", {**SPEAK, **change}) == 400

    async def test_fails_by_plan(self, recogniser: Recogniser, client: aiohttp.ClientSession) -> None:
        faults = Faults(refuse_listen_status=429, refuse_speak_status=503)
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=faults) as address:
            assert await refusal(client, f"{address}/v1/listen", LISTEN) == 429
            assert await refusal(client, f"{address}/v1/speak", SPEAK) == 503


class TestListening:
    async def test_hangs_up_when_neither_audio_nor_a_sign_of_life_comes(self, hasty: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{hasty}/v1/listen", params=LISTEN)
        await messages(socket)
        assert socket.close_code == 1011

    async def test_stays_for_signs_of_life(self, hasty: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{hasty}/v1/listen", params=LISTEN)
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.5 * PATIENCE_SECONDS
        while loop.time() < until:
            await socket.send_json({"type": "KeepAlive"})
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=PATIENCE_SECONDS / 10)
        assert not socket.closed

    @pytest.mark.parametrize("text", ["no JSON", '"KeepAlive"', '{"type":"Unknown"}', "[]", "{}"])
    async def test_hangs_up_on_a_text_that_is_no_order(self, address: str, client: aiohttp.ClientSession, text: str) -> None:
        socket = await client.ws_connect(f"{address}/v1/listen", params=LISTEN)
        await socket.send_str(text)
        await messages(socket)
        assert socket.close_code == 1008

    async def test_leaves_about_one_finalize_of_five_unmarked_the_same_ones_in_every_run(
        self, recogniser: Recogniser, client: aiohttp.ClientSession
    ) -> None:
        runs = []
        for _ in range(2):
            async with deepgram_emulator(recogniser=recogniser, api_key=KEY, seed=7) as address:
                socket = await client.ws_connect(f"{address}/v1/listen", params=SPOKEN_TO)
                for _ in range(100):
                    await socket.send_json({"type": "Finalize"})
                runs.append([(await told(socket, "Results")).get("from_finalize", False) for _ in range(100)])
                await socket.close()
        assert runs[0] == runs[1]
        assert 10 <= runs[0].count(False) <= 30

    async def test_tells_when_speech_began_each_word_and_where_the_utterance_ended(
        self, address: str, client: aiohttp.ClientSession
    ) -> None:
        query = [*SPOKEN_TO, ("vad_events", "true"), ("utterance_end_ms", "1000"), ("endpointing", "300")]
        socket = await client.ws_connect(f"{address}/v1/listen", params=query)
        await socket.send_bytes(await said("are you open on Saturday", before_ms=500, after_ms=1000))
        started = await told(socket, "SpeechStarted")
        final = await told(socket, "Results")
        while not final["is_final"]:
            final = await told(socket, "Results")
        await socket.send_bytes(silence(1500))
        ended = await told(socket, "UtteranceEnd")
        words = final["channel"]["alternatives"][0]["words"]
        await socket.close()
        assert final["speech_final"]
        assert started["timestamp"] == pytest.approx(words[0]["start"], abs=0.1)
        assert all(word["start"] < word["end"] for word in words)
        assert [word["start"] for word in words] == sorted(word["start"] for word in words)
        assert ended["last_word_end"] == words[-1]["end"]
        assert final["start"] == 0
        assert final["start"] + final["duration"] >= words[-1]["end"]

    async def test_punctuates_when_asked(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/listen", params=[*SPOKEN_TO, ("punctuate", "true")])
        await socket.send_bytes(await said("are you open on Saturday"))
        await socket.send_json({"type": "CloseStream"})
        results = [message for message in await messages(socket) if message["type"] == "Results" and message["is_final"]]
        text = " ".join(result["channel"]["alternatives"][0]["transcript"] for result in results)
        assert text.startswith("Are")
        assert text.strip().endswith("?")

    async def test_ends_with_a_summary_when_the_stream_is_closed(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/listen", params=SPOKEN_TO)
        await socket.send_bytes(silence(1000))
        await socket.send_json({"type": "CloseStream"})
        received = await messages(socket)
        assert received[-1]["type"] == "Metadata"
        assert received[-1]["duration"] == 1.0
        assert socket.close_code == 1000

    async def test_breaks_off_by_plan(self, recogniser: Recogniser, client: aiohttp.ClientSession) -> None:
        async with deepgram_emulator(recogniser=recogniser, api_key=KEY, faults=Faults(close_listen_after_ms=200)) as address:
            socket = await client.ws_connect(f"{address}/v1/listen", params=LISTEN)
            await socket.send_bytes(silence(300))
            await messages(socket)
            assert socket.close_code == 1011


class TestSpeaking:
    async def test_introduces_itself_then_answers_flush_and_clear_in_order(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        await socket.send_json({"type": "Speak", "text": "Good morning."})
        await socket.send_json({"type": "Flush"})
        metadata, flushed = await told(socket, "Metadata"), await told(socket, "Flushed")
        await socket.send_json({"type": "Clear"})
        cleared = await told(socket, "Cleared")
        await socket.send_json({"type": "Close"})
        assert await messages(socket) == []
        assert metadata["model_name"] == SPEAK["model"]
        assert (flushed["sequence_id"], cleared["sequence_id"]) == (0, 1)
        assert socket.close_code == 1000

    async def test_says_the_rest_before_it_closes(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        await socket.send_json({"type": "Speak", "text": "Good morning."})
        await socket.send_json({"type": "Close"})
        received = await messages(socket)
        assert sum(len(message) for message in received if isinstance(message, bytes)) > 4000
        assert received[-1]["type"] == "Flushed"

    async def test_sends_no_sound_after_it_was_cleared(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        await socket.send_json(
            {"type": "Speak", "text": "This is a long sentence, of which nobody wants to hear the end, and still it goes on and on."}
        )
        await socket.send_json({"type": "Flush"})
        await socket.send_json({"type": "Clear"})
        await told(socket, "Cleared")
        await socket.send_json({"type": "Close"})
        assert await messages(socket) == []

    async def test_warns_of_the_twenty_first_flush_within_a_minute_and_stays_silent(
        self, address: str, client: aiohttp.ClientSession
    ) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        for _ in range(MOST_FLUSHES + 1):
            await socket.send_json({"type": "Flush"})
        warning = await told(socket, "Warning")
        assert "Flush" in warning["description"]
        await socket.send_json({"type": "Speak", "text": "Does anybody hear me?"})
        await socket.send_json({"type": "Flush"})
        await told(socket, "Warning")
        await socket.send_json({"type": "Clear"})
        await socket.send_json({"type": "Close"})
        assert not [message for message in await messages(socket) if isinstance(message, bytes)]

    async def test_warns_of_a_text_that_is_too_long(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        await socket.send_json({"type": "Speak", "text": "word " * 401})
        assert "2000" in (await told(socket, "Warning"))["description"]
        await socket.close()

    @pytest.mark.parametrize("text", ["no JSON", '{"type":"Speak"}', '{"type":"KeepAlive"}', "7"])
    async def test_hangs_up_on_a_text_that_is_no_order(self, address: str, client: aiohttp.ClientSession, text: str) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        await socket.send_str(text)
        await messages(socket)
        assert socket.close_code == 1008

    async def test_hangs_up_on_sound(self, address: str, client: aiohttp.ClientSession) -> None:
        socket = await client.ws_connect(f"{address}/v1/speak", params=SPEAK)
        await socket.send_bytes(silence(20))
        await messages(socket)
        assert socket.close_code == 1008
