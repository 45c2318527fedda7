"""The command line: `aybiza VERB`. Each verb is a module of this folder, imported when it is asked for."""

import asyncio
import functools
import gc
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog
import typer
import uvloop

from infra.apps.terminal import VerbFailed, complain
from infra.local.services import StackUnavailable
from infra.settings import SettingsInvalid

# A new verb is one line here: its name, and the module that exports it under that name (`-` becomes `_`), as a function, plain or
# async, or as a typer.Typer for a verb with verbs of its own.
VERBS: Mapping[str, str] = {
    "up": "infra.apps.up",
    "down": "infra.apps.down",
    "status": "infra.apps.status",
    "doctor": "infra.apps.doctor",
    "fetch": "infra.apps.fetch",
    "schemas": "infra.apps.schemas",
    "topics": "infra.apps.topics",
    "calls": "infra.apps.calls",
    "events": "infra.apps.events",
    "parked": "infra.apps.parked",
    "rebuild": "infra.apps.rebuild",
    "projections": "infra.apps.builds",
    "journal": "infra.apps.journal",
    "key": "infra.apps.key",
    "owners": "infra.apps.owners",
    "run": "infra.apps.run",
    "demo": "infra.apps.demo",
    "call": "infra.apps.call",
}


def asynchronous(verb: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Let typer call an async verb: on uvloop, as everything runs here."""

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(verb(*args, **kwargs))

    return run


def command_line(asked: str | None) -> typer.Typer:
    """The program with the one verb that is asked for, or with all of them, for help, when it is not one of ours."""
    # Tracebacks are for bugs, and then plain ones: rich's would show the values of variables, secrets among them.
    app = typer.Typer(
        name="aybiza", help="AI voice agents on the phone.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    # With a callback of its own the program keeps its verbs even when only one is loaded.
    app.callback()(lambda: None)
    wanted = {name: module for name, module in VERBS.items() if name == asked} or VERBS
    for name, module in wanted.items():
        verb = getattr(importlib.import_module(module), name.replace("-", "_"))
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name)
        else:
            app.command(name)(asynchronous(verb) if inspect.iscoroutinefunction(verb) else verb)
    return app


def main() -> None:
    """Run a verb. What a person can mend is said in a sentence, with exit code 1; anything else is a bug and shows itself."""
    # A log read back makes millions of objects that stay: looking through them every 700 allocations costs a quarter of the time.
    gc.set_threshold(100_000, 50, 1_000)
    # The matrices of a call are small: a second thread for them costs more than it does. It is read once, when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # gRPC would say at each program that we start that it cannot follow into it.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    # Standard output is for results.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # It tells in its log what our sentences say.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        command_line(sys.argv[1] if len(sys.argv) > 1 else None)()
    except (SettingsInvalid, StackUnavailable, VerbFailed) as error:
        complain(str(error))
        sys.exit(1)
