"""What a person sees of a verb: progress on standard error, results on standard output, plain lines where there is no terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from infra.local import services

# Created once: they only look at the standard streams when they write.
results = Console(highlight=False)
asides = Console(stderr=True, highlight=False)


class VerbFailed(Exception):
    """A verb cannot do what was asked; its text is all that a person needs to go on, and the exit code is 1."""


def complain(sentence: str) -> None:
    """Say what is wrong."""
    asides.print(sentence, style="red", markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """A reading verb's answer for programs: JSON on standard output, uncoloured unless it is a terminal."""
    results.print_json(data=value, default=str)


@contextmanager
def watched() -> Iterator[services.Progress]:
    """Show the progress of several parts at once: a spinner and a clock for each, or a line per step without a terminal."""
    if not asides.is_terminal:
        yield _line_by_line()
        return
    columns = (SpinnerColumn(finished_text="[green]✓[/]"), TextColumn("{task.fields[part]:<10}{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=asides) as progress:
        tasks: dict[str, TaskID] = {}

        def show(part: str, words: str) -> None:
            if part not in tasks:
                tasks[part] = progress.add_task(words, part=part, total=1)
            progress.update(tasks[part], description=words)

        yield show
        for task in tasks.values():
            progress.update(task, completed=1)


def _line_by_line() -> services.Progress:
    """A log has no use for the same line again."""
    said: dict[str, str] = {}

    def show(part: str, words: str) -> None:
        if said.get(part) != words:
            said[part] = words
            print(f"{part}: {words}", file=sys.stderr, flush=True)  # noqa: T201 — unwrapped

    return show
