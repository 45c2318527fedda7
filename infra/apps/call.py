"""`aybiza call`: ring the demo business with words of your own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from infra.apps.calling import Reach, call_and_tell
from infra.apps.demo_business.opening import CALLER, OpeningFailed, open_business
from infra.apps.demo_play import reach_of
from infra.apps.installation import open_installation
from infra.apps.live import narrated
from infra.apps.logs import logging_to
from infra.apps.platform import PLATFORM_FAILURES, running_platform
from infra.apps.ringing import Line, RingingFailed
from infra.apps.standing import api_url, log_side, read_side, voice_url
from infra.apps.story import story_data
from infra.apps.terminal import VerbFailed, print_json, results, watched
from infra.apps.timeline import render
from infra.local.stack import ensure_stack
from infra.settings import load_settings

_MENDABLE: tuple[type[Exception], ...] = (*PLATFORM_FAILURES, OpeningFailed, RingingFailed)


async def call(
    words: Annotated[list[str], typer.Argument(help="What the caller says, one sentence after the other, each when it is their turn.")],
    caller: Annotated[str, typer.Option(help="The caller's number.")] = CALLER,
    after_silence_ms: Annotated[int, typer.Option(min=100, help="How long the agent must be silent before the caller speaks.")] = 1500,
    *,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Place one call with these words and show its record. Uses the platform that runs, else runs one for this call."""
    lines = [Line(text=each, after_silence_ms=after_silence_ms) for each in words]
    try:
        async with _reached() as reach, log_side() as log:
            business = await open_business(reach.url, reach.installation.operator_key)
            async with narrated(log.reader, log.key_ring, lambda line: None if json else results.print(line, soft_wrap=True)):
                story = await call_and_tell(reach, business, lines, caller=caller, patience_ms=6000)
    except _MENDABLE as error:
        raise VerbFailed(str(error)) from error
    if json:
        print_json(story_data(story))
    else:
        results.print(render(story))


@asynccontextmanager
async def _reached() -> AsyncIterator[Reach]:
    settings = load_settings()
    if (url := api_url(settings)) is not None:
        if (voice := voice_url(settings)) is None:
            raise VerbFailed("No voice worker of this stack answers. Type: aybiza run realtime")
        with open_installation(settings) as installation:
            async with read_side() as side:
                yield Reach(url=url, voice=voice, installation=installation, rows=side.rows, journal=side.journal)
        return
    with watched() as progress:
        services = await ensure_stack(settings.state_dir, settings, progress)
    with logging_to(settings.state_dir / "logs" / "platform.log"), open_installation(settings) as installation:
        async with running_platform(settings, services, installation) as platform:
            yield reach_of(platform)
