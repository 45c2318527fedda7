"""The same calls over the providers' own SDKs, which talk to emulators of their wires; and calls whose providers fail."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.adapters.scripted_model.model import ScriptedModel
from infra.apps.demo_business import opening
from infra.apps.demo_business.opening import configuration
from infra.apps.demo_business.script import demo_script
from infra.apps.demo_checks import findings
from infra.apps.demo_play import LINES
from infra.emulators.bedrock.server import BedrockEmulator, Fault, Rejected
from infra.emulators.deepgram.faults import NO_FAULTS, Faults
from infra.emulators.deepgram.server import deepgram_emulator
from infra.local.stack import Addresses
from infra.settings import Settings
from realtime.ports import ModelRequest
from tests.spoken.conversations import House, opened_house

_KEY = "an emulator's key"


@dataclass(frozen=True, slots=True)
class Street:
    """A house whose engines are the providers'."""

    house: House
    bedrock: BedrockEmulator


@pytest.fixture
def providers(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Settings:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "emulated")
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    return settings


@asynccontextmanager
async def street(
    settings: Settings,
    stack: Addresses,
    folder: Path,
    *,
    hearing: Faults = NO_FAULTS,
    thinking: tuple[Fault | None, ...] = (),
    **more: Any,
) -> AsyncIterator[Street]:
    async with AsyncExitStack() as clean_up:
        recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
        clean_up.push_async_callback(recogniser.close)
        deepgram = await clean_up.enter_async_context(deepgram_emulator(recogniser=recogniser, api_key=_KEY, faults=hearing))
        bedrock = BedrockEmulator(ScriptedModel([demo_script()]), faults=thinking)
        endpoint = await clean_up.enter_async_context(bedrock.serving())
        told = Settings.model_validate(
            {**settings.model_dump(), "engines": "providers", "deepgram_api_key": _KEY, "deepgram_base_url": deepgram,
             "bedrock_endpoint_url": endpoint, "second_voice": "none", **more}
        )  # fmt: skip
        yield Street(await clean_up.enter_async_context(opened_house(told, stack, folder)), bedrock)


class TestTheDemosCallOverTheProviders:
    async def test_keeps_every_promise_and_tells_the_model_only_what_was_heard(
        self, providers: Settings, stack: Addresses, tmp_path: Path
    ) -> None:
        async with street(providers, stack, tmp_path) as there:
            told = await there.house.talk("demo", *LINES, caller="+12025553001")
            story = told.story
            wav = await there.house.platform.recordings.wav(story.call.tenant, story.call.id)
            assert [each for each in findings(story, wav) if not each.kept] == []
            assert story.call.embedded is False
            cut = next(each for each in told.all("agent-turn") if each.entry.interrupted)
            assert cut.words is not None
            assert cut.heard is not None
            context = said_to_the_model(there.bedrock.requests[-1])
            assert cut.heard in context
            unheard = cut.words.removeprefix(cut.heard).strip()
            assert unheard[-60:] not in context


class TestACallHeardByFlux:
    async def test_has_every_turn_ended_by_it(self, providers: Settings, stack: Addresses, tmp_path: Path) -> None:
        async with street(providers, stack, tmp_path, deepgram_model="flux") as there:
            told = await there.house.talk("flux", "No.", "What time do you close on Fridays?", "Goodbye.", caller="+12025553006")
        assert told.story.call.end_reason == "goodbye"
        assert "four in the afternoon" in told.answers()
        turns = [each.words or "" for each in told.all("caller-turn")]
        assert len(turns) == 3
        assert turns[1].startswith("what time do you close on friday")
        assert told.all("engine-switched") == told.all("engine-failed") == []


class TestACallWhoseProvidersFail:
    async def test_says_so_and_ends_when_no_recogniser_is_left(self, providers: Settings, stack: Addresses, tmp_path: Path) -> None:
        faults = Faults(refuse_listen_status=503)
        async with street(providers, stack, tmp_path, hearing=faults, embedded_floor=False) as there:
            told = await there.house.talk("deaf", "No.", caller="+12025553002")
        assert told.story.call.end_reason == "recogniser-failed"
        assert [each.entry.engine for each in told.all("engine-failed")] == ["deepgram/nova-3"]
        assert "cannot hear you" in told.answers()

    async def test_goes_on_without_a_word_lost_when_sockets_break_and_run_out_of_flushes(
        self, providers: Settings, stack: Addresses, tmp_path: Path
    ) -> None:
        # The recogniser's breaks while the caller speaks; the voice's takes no third sentence.
        faults = Faults(close_listen_after_ms=11_000, most_flushes=2, only_first=1)
        async with street(providers, stack, tmp_path, hearing=faults, speak_ahead=False) as there:
            told = await there.house.talk("broken", "No.", "What time do you close on Fridays?", "Goodbye.", caller="+12025553004")
        assert told.story.call.end_reason == "goodbye"
        assert "four in the afternoon" in told.answers()
        assert told.all("engine-failed") == []
        reasons = [each.entry.reason or "" for each in told.all("engine-switched")]
        assert any("voice" in reason and "Flush" in reason for reason in reasons)
        assert any("recogniser" in reason and "1011" in reason for reason in reasons)

    async def test_is_heard_and_spoken_to_by_the_embedded_engines_when_the_provider_is_gone(
        self, providers: Settings, stack: Addresses, tmp_path: Path
    ) -> None:
        faults = Faults(refuse_listen_status=503, refuse_speak_status=503)
        async with street(providers, stack, tmp_path, hearing=faults) as there:
            told = await there.house.talk("floor", "No.", "Goodbye.", caller="+12025553005")
        assert told.story.call.end_reason == "goodbye"
        assert {each.entry.engine for each in told.all("engine-switched")} == {"pocketsphinx", "flite"}

    async def test_says_so_and_goes_on_when_the_model_refuses_once(
        self, providers: Settings, stack: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Who does not think ahead notices when they are asked.
        document = configuration()
        at_once = {**document, "parameters": {**document["parameters"], "speculation": False}}
        monkeypatch.setattr(opening, "configuration", lambda: at_once)
        refusals = tuple(Rejected() for _ in range(2))
        async with street(providers, stack, tmp_path, thinking=refusals) as there:
            told = await there.house.talk(
                "thoughtless", "No.", "What time do you close on Fridays?", "What time do you close on Fridays?", "Goodbye.",
                caller="+12025553003",
            )  # fmt: skip
        answers = told.answers()
        assert answers.index("something went wrong") < answers.index("four in the afternoon")
        assert told.story.call.end_reason == "goodbye"
        assert told.all("engine-failed")


def said_to_the_model(request: ModelRequest) -> str:
    return " ".join(message.text for message in request.messages if message.role == "assistant")
