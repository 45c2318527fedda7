"""The engines of a process: embedded ones that need no account, or the providers' through their own SDKs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import structlog

from commands.model_catalogue import catalogue_in_force, resolve
from infra.adapters.flite import Flite
from infra.adapters.model_catalogues import read_model_catalogues
from infra.adapters.pocketsphinx.recogniser import Pocketsphinx, Recogniser
from infra.adapters.scripted_model.model import ScriptedModel
from infra.adapters.silero.detector import SileroVoiceActivity
from infra.adapters.twilio import TwilioTelephony
from infra.apps.demo_business.script import demo_script
from infra.apps.demo_business.tools import tools_for
from infra.apps.installation import Installation
from infra.settings import Settings
from realtime.engines.slots import Slots
from realtime.ports import (
    EngineUnavailable,
    LanguageModel,
    SpeechToText,
    Telephony,
    TextToSpeech,
    Tools,
    TransferRefused,
    VoiceActivity,
)

log = structlog.get_logger()


class KeyMissing(Exception):
    """The providers' engines are asked for and a key is missing; the text names the setting."""


class NoCarrierControl:
    """`realtime.ports.Telephony` without a carrier's account: the end of the media stream is the end of the call, as the TwiML says."""

    async def transfer(self, call_sid: str, number: str, *, told_at: str) -> None:
        """Raises TransferRefused: who has no account has no way to dial."""
        raise TransferRefused("no-carrier-account")

    async def hang_up(self, call_sid: str) -> None:
        """Nothing beyond closing the stream, which the call does by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What calls speak, hear and think with. `tools` and `models` are made from an organisation's agent's configuration."""

    recogniser: SpeechToText
    model: LanguageModel
    voice: TextToSpeech
    activity: VoiceActivity
    telephony: Telephony
    tools: Callable[[str, Mapping[str, Any]], Tools]
    models: Callable[[Mapping[str, Any]], Mapping[str, str]]
    admission: Slots
    prepare: Callable[[Mapping[str, Any]], Awaitable[None]]
    """Do ahead what an agent's first call would wait for; quick when it was done before."""


EngineSet: TypeAlias = tuple[SpeechToText, LanguageModel, TextToSpeech, Callable[[Mapping[str, Any]], Awaitable[None]]]


@asynccontextmanager
async def opened_engines(settings: Settings, installation: Installation) -> AsyncIterator[Engines]:
    """Warm at the first call. Raises KeyMissing."""
    catalogue = catalogue_in_force(read_model_catalogues(), datetime.now(UTC).date())

    def models(configuration: Mapping[str, Any]) -> Mapping[str, str]:
        wanted = {tier: str(name) for tier, name in (configuration.get("models") or {}).items()}
        found = resolve(
            catalogue, wanted, region=settings.bedrock_region, pinned={str(tier): name for tier, name in settings.bedrock_models.items()}
        )
        if found.unknown:
            log.warning("models.unknown", names=found.unknown, taken=found.models)
        return found.models

    async with AsyncExitStack() as stack:
        hearing, thinking, speaking, prepare = await (_embedded if settings.engines == "embedded" else _providers)(stack, settings)
        yield Engines(
            recogniser=hearing, model=thinking, voice=speaking, activity=SileroVoiceActivity(),
            telephony=await _telephony(stack, settings, installation), tools=tools_for, models=models,
            prepare=prepare, admission=slots_of(settings),
        )  # fmt: skip


async def _embedded(stack: AsyncExitStack, settings: Settings) -> EngineSet:
    recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
    stack.push_async_callback(recogniser.close)

    async def prepare(configuration: Mapping[str, Any]) -> None:
        try:
            await recogniser.prepare(tuple(str(phrase) for phrase in configuration.get("vocabulary") or ()))
        except EngineUnavailable as unavailable:
            # The first call will meet it again and say so to its caller.
            log.warning("engines.not_prepared", reason=str(unavailable))

    return Pocketsphinx(recogniser), ScriptedModel([demo_script()]), Flite(), prepare


async def _providers(stack: AsyncExitStack, settings: Settings) -> EngineSet:
    if settings.deepgram_api_key is None:
        raise KeyMissing("AYBIZA_ENGINES=providers needs DEEPGRAM_API_KEY; or leave the engines embedded")
    # The SDKs of all providers take half of a start: only who asks for them has them.
    from infra.apps.providers import opened_providers  # noqa: PLC0415

    return await opened_providers(stack, settings, settings.deepgram_api_key.get_secret_value())


def slots_of(settings: Settings) -> Slots:
    """How many calls the accounts leave room for; without end for engines of our own."""
    if settings.engines == "embedded":
        return Slots([])
    return Slots([settings.recogniser_streams, settings.voice_streams, settings.model_streams])


async def _telephony(stack: AsyncExitStack, settings: Settings, installation: Installation) -> Telephony:
    if settings.twilio_account_sid is None and settings.twilio_api_base_url is None:
        return NoCarrierControl()
    control = TwilioTelephony(installation.twilio_account_sid, installation.twilio_auth_token, base_url=settings.twilio_api_base_url)
    return await stack.enter_async_context(control)
