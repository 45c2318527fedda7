"""The providers' engines through their own SDKs, as ladders on which one answers for another."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from commands.model_catalogue import catalogue_in_force
from infra.adapters.bedrock.converse import open_bedrock
from infra.adapters.deepgram.flux import DeepgramFlux
from infra.adapters.deepgram.listen import DeepgramListen
from infra.adapters.deepgram.speak import DeepgramSpeak
from infra.adapters.model_catalogues import read_model_catalogues
from infra.adapters.polly import open_polly
from infra.apps.engines import EngineSet
from infra.apps.rungs import floor_of, model_rungs, recogniser_rungs, voice_rungs
from infra.settings import Settings
from realtime.engines.ladders import ModelLadder, RecogniserLadder, VoiceLadder


async def opened_providers(stack: AsyncExitStack, settings: Settings, key: str) -> EngineSet:
    """`key` is Deepgram's."""
    bedrock = await stack.enter_async_context(open_bedrock(region=settings.bedrock_region, endpoint_url=settings.bedrock_endpoint_url))
    floor = floor_of(settings, stack)
    listen = DeepgramFlux if settings.deepgram_model == "flux" else DeepgramListen
    hearing = recogniser_rungs(settings, key, listen(key, base_url=settings.deepgram_base_url), floor)
    polly = (
        await stack.enter_async_context(
            open_polly(
                region=settings.polly_region or settings.bedrock_region,
                endpoint_url=settings.polly_endpoint_url,
                voices=settings.polly_voices,
            )
        )
        if settings.second_voice == "polly"
        else None
    )
    speaking = voice_rungs(settings, key, DeepgramSpeak(key, base_url=settings.deepgram_base_url), floor, polly)
    thinking = await model_rungs(settings, bedrock, catalogue_in_force(read_model_catalogues(), datetime.now(UTC).date()), stack)

    async def prepare(_configuration: Mapping[str, Any]) -> None:
        """The provider has its models at hand."""

    return RecogniserLadder(hearing), ModelLadder(thinking), VoiceLadder(speaking), prepare
