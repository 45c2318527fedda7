"""Who answers for whom, as the settings say."""

import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import date

import pytest

from commands.model_catalogue import catalogue_in_force, elsewhere, resolve
from infra.adapters.deepgram.flux import DeepgramFlux
from infra.adapters.deepgram.listen import DeepgramListen
from infra.adapters.deepgram.speak import DeepgramSpeak
from infra.adapters.flite import PROGRAM
from infra.adapters.model_catalogues import read_model_catalogues
from infra.adapters.scripted_model.model import ScriptedModel
from infra.apps.engines import slots_of
from infra.apps.rungs import floor_of, model_rungs, recogniser_rungs, voice_rungs
from infra.settings import Settings, SettingsInvalid, load_settings
from realtime.ports import EngineUnsuited

TODAY = catalogue_in_force(read_model_catalogues(), date(2026, 11, 21))
KEY = "a key of the tests"


def told(settings: Settings, **more: object) -> Settings:
    return Settings.model_validate({**settings.model_dump(), **more})


class TestRungs:
    async def test_of_speech_are_the_provider_here_and_elsewhere_and_then_the_embedded_engines(self, settings: Settings) -> None:
        wide = told(settings, deepgram_other_base_urls="https://eu.example.com,https://own.example.com:8443")
        async with AsyncExitStack() as stack:
            floor = floor_of(wide, stack)
            hearing = recogniser_rungs(wide, KEY, DeepgramListen(KEY), floor)
            speaking = voice_rungs(wide, KEY, DeepgramSpeak(KEY), floor)
        assert [rung.name for rung in hearing] == [
            "deepgram/nova-3", "deepgram/nova-3@eu.example.com", "deepgram/nova-3@own.example.com:8443", "pocketsphinx",
        ]  # fmt: skip
        assert [rung.name for rung in speaking][-1] == ("flite" if shutil.which(PROGRAM) else "deepgram/aura-2@own.example.com:8443")

    async def test_of_a_recogniser_with_one_language_begin_with_one_that_has_more(self, settings: Settings) -> None:
        async with AsyncExitStack() as stack:
            hearing = recogniser_rungs(settings, KEY, DeepgramFlux(KEY), floor_of(told(settings, embedded_floor=False), stack))
            assert [rung.name for rung in hearing] == ["deepgram/flux", "deepgram/nova-3"]
            with pytest.raises(EngineUnsuited):
                await hearing[0].engine.connect(language="de-DE", vocabulary=(), listener=lambda _: None)

    async def test_have_no_floor_where_nobody_wants_it(self, settings: Settings) -> None:
        async with AsyncExitStack() as stack:
            floor = floor_of(told(settings, embedded_floor=False), stack)
            assert [rung.name for rung in recogniser_rungs(settings, KEY, DeepgramListen(KEY), floor)] == ["deepgram/nova-3"]
            assert [rung.name for rung in voice_rungs(settings, KEY, DeepgramSpeak(KEY), floor)] == ["deepgram/aura-2"]

    async def test_have_no_floor_where_it_is_not_installed(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        nowhere: Callable[[str], None] = lambda _: None  # noqa: E731 - it has a type
        monkeypatch.setattr("importlib.util.find_spec", nowhere)
        monkeypatch.setattr("shutil.which", nowhere)
        async with AsyncExitStack() as stack:
            floor = floor_of(settings, stack)
        assert (floor.recogniser, floor.voice) == (None, None)

    async def test_of_the_model_are_regions_that_know_it_by_their_own_names(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "made-up")
        wide = told(settings, bedrock_region="us-east-1", bedrock_other_regions="us-west-2,eu-west-1=http://127.0.0.1:9")
        async with AsyncExitStack() as stack:
            here, west, europe = await model_rungs(wide, ScriptedModel(), TODAY, stack)
        there = resolve(TODAY, {}, region="eu-west-1").models
        for tier, name in resolve(TODAY, {}, region="us-east-1").models.items():
            assert here.translate(name) == west.translate(name) == name
            assert europe.translate(name) == there[tier]
        assert europe.translate("somebody's own") == "somebody's own"
        assert (west.name, europe.name) == ("bedrock@us-west-2", "bedrock@eu-west-1")

    def test_translate_every_model_of_the_catalogue(self) -> None:
        assert len(elsewhere(TODAY, "us-east-1", "eu-west-1")) == len(TODAY.models)


class TestSlots:
    def test_are_counted_for_providers_alone(self, settings: Settings) -> None:
        limited = told(settings, recogniser_streams=3, voice_streams=2)
        assert slots_of(limited).limit is None
        assert slots_of(told(limited, engines="providers")).limit == 2


class TestSettings:
    @pytest.mark.parametrize(
        ("variable", "value"),
        [("AYBIZA_DEEPGRAM_OTHER_BASE_URLS", "eu.example.com"), ("AYBIZA_BEDROCK_OTHER_REGIONS", "eu-west-1=example.com")],
    )
    def test_refuse_what_is_no_address(self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsInvalid, match=variable):
            load_settings()
