"""`aybiza run`: the platform as a process that runs until it is told to stop."""

import asyncio
import signal

import structlog
import typer

from infra.apps.cli import asynchronous
from infra.apps.installation import open_installation
from infra.apps.logs import logging_to
from infra.apps.platform import PLATFORM_FAILURES, running_platform
from infra.apps.terminal import VerbFailed, results, watched
from infra.local.stack import ensure_stack
from infra.settings import load_settings

run = typer.Typer(help="Run the platform until SIGTERM or Ctrl-C.", no_args_is_help=True)
log = structlog.get_logger()


@run.callback()
def processes() -> None:
    """Which process to run."""


@run.command("all")
@asynchronous
async def run_all() -> None:
    """Owners, projections, processors, voice and API in one process."""
    settings = load_settings()
    with watched() as progress:
        services = await ensure_stack(settings.state_dir, settings, progress)
    try:
        with logging_to(None), open_installation(settings) as installation:
            async with running_platform(settings, services, installation) as platform:
                results.print(f"{platform.url}   API, its documentation at /docs, how it is at /health; Ctrl-C stops it", soft_wrap=True)
                await told_to_stop()
                log.info("platform.stopping")
    except PLATFORM_FAILURES as error:
        raise VerbFailed(str(error)) from error


async def told_to_stop() -> None:
    """Returns at SIGTERM or SIGINT."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, told.set)
    try:
        await told.wait()
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
