"""The product as the bench runs it: its own stack, a process for each part, a business open on it, and nothing left out."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from infra.apps.demo_business.opening import Business, open_business
from infra.apps.installation import open_installation
from infra.apps.whereabouts import processes
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import Settings
from tests.benchmarks.voice.providers import KEY
from tests.benchmarks.voice.terminal import Child, child, tell

_PARTS: Final = ("commands", "realtime", "projections", "processors", "api")
_PROGRAM: Final = "infra.apps"
_READY_SECONDS: Final = 120.0
_SETTLE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What runs. `webhook` is where the carrier rings."""

    parts: Mapping[str, Child]
    webhook: str
    api: str
    account_sid: str
    auth_token: str
    operator_key: str
    business: Business
    state_dir: Path

    async def turns(self, call_sids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """What the tables have of each call, in order, as soon as all have ended there; what has not by then is left out."""
        headers = {"Authorization": f"Bearer {self.operator_key}", "Aybiza-Organisation": self.business.organisation_id}
        async with aiohttp.ClientSession(self.api, headers=headers) as http:
            loop = asyncio.get_running_loop()
            until = loop.time() + _SETTLE_SECONDS
            while True:
                calls = await _pages(http, "/v1/calls")
                if all(call["ended_at"] for call in calls) and len(calls) >= len(call_sids):
                    break
                if loop.time() > until:
                    tell(f"{sum(not call['ended_at'] for call in calls)} calls have no end in the tables")
                    break
                await asyncio.sleep(0.5)
            return {call["id"]: await _pages(http, f"/v1/calls/{call['id']}/timeline") for call in calls}

    async def open_calls(self) -> int:
        """How many calls the tables take for being under way."""
        headers = {"Authorization": f"Bearer {self.operator_key}", "Aybiza-Organisation": self.business.organisation_id}
        async with aiohttp.ClientSession(self.api, headers=headers) as http:
            return sum(not call["ended_at"] for call in await _pages(http, "/v1/calls"))


async def _pages(http: aiohttp.ClientSession, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parameters = {"limit": "100"}
    while True:
        async with http.get(path, params=parameters) as answer:
            page = await answer.json()
        found += page["data"]
        if not page.get("next_cursor"):
            return found
        parameters["cursor"] = page["next_cursor"]


@asynccontextmanager
async def running_product(
    settings: Settings, folder: Path, providers: Mapping[str, str], trust: Mapping[str, str], *, voice_by: str = _PROGRAM
) -> AsyncIterator[Product]:
    """Everything on, until the block ends. `trust`: the environment by which the SDKs hold the providers for the providers.

    `voice_by`: the module that runs the voice process.
    """
    state_dir = folder / "state"
    settings = settings.model_copy(update={"state_dir": state_dir, "key_file": None, "spool_dir": None})
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AYBIZA_")}, **trust,
        "AYBIZA_STATE_DIR": str(state_dir), "AYBIZA_CACHE_DIR": str(settings.cache_dir), "AYBIZA_ENGINES": "providers",
        "DEEPGRAM_API_KEY": KEY, "AYBIZA_DEEPGRAM_BASE_URL": providers["deepgram"],
        "AYBIZA_BEDROCK_ENDPOINT_URL": providers["bedrock"], "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
    }  # fmt: skip
    await ensure_stack(state_dir, settings, lambda part, words: tell(f"{part}: {words}"))
    try:
        async with AsyncExitStack() as stack:
            installation = stack.enter_context(open_installation(settings))
            programs = {part: voice_by if part == "realtime" else _PROGRAM for part in _PARTS}
            parts = {
                part: await stack.enter_async_context(
                    child(sys.executable, "-m", program, "run", part, environment=environment, errors=folder / f"{part}.log")
                )
                for part, program in programs.items()
            }
            async with asyncio.timeout(_READY_SECONDS):
                for part in parts.values():
                    await part.line()
            where = {each.role: each for each in processes(state_dir)}
            api, voice = where["api"].api, where["realtime"].voice
            if api is None or voice is None:
                raise RuntimeError("a part of the product listens nowhere")
            business = await open_business(api, installation.operator_key)
            await asyncio.sleep(2)
            yield Product(
                parts=parts, webhook=f"{voice}/twilio/voice", api=api, account_sid=installation.twilio_account_sid,
                auth_token=installation.twilio_auth_token, operator_key=installation.operator_key, business=business,
                state_dir=state_dir,
            )  # fmt: skip
    finally:
        await stop_stack(state_dir, settings, lambda _part, _words: None)
