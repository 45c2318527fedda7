"""The recogniser that the contracts listen with: one decoder process for each test, its models built once and kept."""

from collections.abc import AsyncIterator

import pytest

from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.settings import Settings


@pytest.fixture
async def recogniser(settings: Settings) -> AsyncIterator[Recogniser]:
    recogniser = Recogniser(cache=settings.cache_dir / "pocketsphinx")
    yield recogniser
    await recogniser.close()
