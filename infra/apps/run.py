"""`aybiza run`: the platform as one process or as several, each of which runs until it is told to stop."""

import asyncio
import importlib
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import structlog
import typer

from infra.apps.cli import asynchronous
from infra.apps.installation import Installation, open_installation
from infra.apps.logs import logging_to
from infra.apps.terminal import VerbFailed, results, watched
from infra.apps.whereabouts import Role
from infra.local.stack import Addresses, ensure_stack
from infra.settings import Settings, load_settings

run = typer.Typer(help="Run the platform, or one of its parts, until SIGTERM or Ctrl-C.", no_args_is_help=True)
log = structlog.get_logger()

# Any number of each on one stack. `all` does the work of the next five; who needs the relay's topics starts one.
_ROLES: Mapping[Role, tuple[str, str]] = {
    "all": ("platform", "Owners, projections, processors, voice and API in one process."),
    "commands": ("commands", "Owners of the log's partitions, who decide what others ask for."),
    "realtime": ("realtime", "A voice worker: the carrier's webhooks, media sockets and calls."),
    "projections": ("projections", "The log folded into PostgreSQL and Redis."),
    "processors": ("processors", "The process managers: what follows from a fact in another stream."),
    "api": ("api", "The HTTP API and its documentation."),
    "relay": ("relay", "Admitted events on topics of their own, for consumers that cannot know which records count."),
}


class _Root(Protocol):
    """A module that composes one process. What `running` yields is told to a person; `FAILURES` are said in a sentence."""

    FAILURES: tuple[type[Exception], ...]

    def running(self, settings: Settings, services: Addresses, installation: Installation) -> AbstractAsyncContextManager[str]: ...


@run.callback()
def processes() -> None:
    """Which process to run."""


def _verb(role: Role, module: str) -> Callable[[], Coroutine[Any, Any, None]]:
    async def verb() -> None:
        # Imported when it is asked for: owners need no engines of speech.
        root = cast(_Root, importlib.import_module(f"infra.apps.{module}"))
        settings = load_settings()
        with watched() as progress:
            services = await ensure_stack(settings.state_dir, settings, progress)
        try:
            with logging_to(None), open_installation(settings) as installation:
                async with root.running(settings, services, installation) as told:
                    results.print(f"{told}; Ctrl-C stops it", soft_wrap=True)
                    await told_to_stop()
                    log.info("process-stopping", role=role)
        except root.FAILURES as error:
            raise VerbFailed(str(error)) from error

    return verb


for _role, (_module, _help) in _ROLES.items():
    run.command(_role, help=_help)(asynchronous(_verb(_role, _module)))


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
