"""Which engines answer for those that fail, and in which order: the settings read as ladders."""

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from commands.model_catalogue import ModelCatalogue, elsewhere
from infra.adapters.bedrock.converse import open_bedrock
from infra.adapters.deepgram.listen import NAME as NOVA
from infra.adapters.deepgram.listen import DeepgramListen
from infra.adapters.deepgram.speak import DeepgramSpeak
from infra.adapters.flite import PROGRAM, Flite
from infra.adapters.pocketsphinx.recogniser import Pocketsphinx, Recogniser
from infra.settings import Settings
from realtime.engines.ladders import Rung
from realtime.ports import LanguageModel, SpeechToText, TextToSpeech

# A provider's socket is there in some hundred milliseconds, or it is not there.
_SOCKET_SECONDS = 1.5
# The embedded recogniser may have to build the language model of a business first.
_EMBEDDED_SECONDS = 10.0
# A question has a time of its own to its first word; longer than this no call waits for the last one that is asked.
_MODEL_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What needs no account and no network; None where it is not installed, or not wanted."""

    recogniser: Recogniser | None
    voice: Flite | None


def floor_of(settings: Settings, stack: AsyncExitStack) -> Floor:
    """Nothing is started before it is needed."""
    if not settings.embedded_floor:
        return Floor(recogniser=None, voice=None)
    recogniser = None
    if importlib.util.find_spec("pocketsphinx") is not None:
        recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
        stack.push_async_callback(recogniser.close)
    return Floor(recogniser=recogniser, voice=Flite() if shutil.which(PROGRAM) is not None else None)


def recogniser_rungs(settings: Settings, key: str, first: SpeechToText, floor: Floor) -> list[Rung[SpeechToText]]:
    """The first, the same provider elsewhere, the floor. Nova takes the calls that Flux has no language for."""
    rungs: list[Rung[SpeechToText]] = [Rung(name=first.name, engine=first, within_seconds=_SOCKET_SECONDS)]
    if first.name != NOVA:
        nova = DeepgramListen(key, base_url=settings.deepgram_base_url)
        rungs.append(Rung(name=nova.name, engine=nova, within_seconds=_SOCKET_SECONDS))
    for url in settings.deepgram_elsewhere:
        engine = DeepgramListen(key, base_url=url)
        rungs.append(Rung(name=_at(engine.name, url), engine=engine, within_seconds=_SOCKET_SECONDS))
    if floor.recogniser is not None:
        rungs.append(Rung(name="pocketsphinx", engine=Pocketsphinx(floor.recogniser), within_seconds=_EMBEDDED_SECONDS))
    return rungs


def voice_rungs(
    settings: Settings, key: str, first: TextToSpeech, floor: Floor, second: TextToSpeech | None = None
) -> list[Rung[TextToSpeech]]:
    """The first, the same provider elsewhere, the second provider, the floor; below it the carrier's own voice says that we call back."""
    rungs: list[Rung[TextToSpeech]] = [Rung(name=first.name, engine=first, within_seconds=_SOCKET_SECONDS)]
    for url in settings.deepgram_elsewhere:
        engine = DeepgramSpeak(key, base_url=url)
        rungs.append(Rung(name=_at(engine.name, url), engine=engine, within_seconds=_SOCKET_SECONDS))
    if second is not None:
        rungs.append(Rung(name=second.name, engine=second, within_seconds=_SOCKET_SECONDS))
    if floor.voice is not None:
        rungs.append(Rung(name="flite", engine=floor.voice, within_seconds=_SOCKET_SECONDS))
    return rungs


async def model_rungs(
    settings: Settings, first: LanguageModel, catalogue: ModelCatalogue, stack: AsyncExitStack
) -> list[Rung[LanguageModel]]:
    """The first, and the same provider's other regions under the names that models have there. No script stands in for a model."""
    rungs: list[Rung[LanguageModel]] = [Rung(name=first.name, engine=first, within_seconds=_MODEL_SECONDS)]
    for region, url in settings.bedrock_elsewhere:
        there = await stack.enter_async_context(open_bedrock(region=region, endpoint_url=url))
        names = elsewhere(catalogue, settings.bedrock_region, region)
        rungs.append(Rung(name=f"{there.name}@{region}", engine=there, within_seconds=_MODEL_SECONDS, translate=_named(names)))
    return rungs


def _at(name: str, url: str) -> str:
    return f"{name}@{urlsplit(url).netloc}"


def _named(names: Mapping[str, str]) -> Callable[[str], str]:
    return lambda model: names.get(model, model)
