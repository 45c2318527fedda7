"""Amazon Polly for contracts: the unmodified client over an emulator that knows its keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from infra.adapters.polly import PollyVoice, open_polly
from infra.emulators.polly import Fault, PollyEmulator

KEY, SECRET = "AKIDEXAMPLE", "a secret of the tests"


@asynccontextmanager
async def spoken_by_polly(
    monkeypatch: pytest.MonkeyPatch, *faults: Fault, secret: str = SECRET, region: str = "us-east-1"
) -> AsyncIterator[tuple[PollyVoice, PollyEmulator]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    emulator = PollyEmulator(access_key=KEY, secret_key=SECRET, faults=faults)
    async with emulator.serving() as url, open_polly(region=region, endpoint_url=url) as polly:
        yield polly, emulator
