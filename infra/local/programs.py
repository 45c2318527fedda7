"""Short programs that are run to their end."""

import asyncio
from collections.abc import Sequence


class ProgramFailed(Exception):
    """A program could not be run or ended badly; the text holds its last words, `said` all of them."""

    def __init__(self, sentence: str, said: str = "") -> None:
        super().__init__(sentence)
        self.said = said


async def run(argv: Sequence[str], *, what: str) -> str:
    """Run a short program to its end and return what it said. Raises ProgramFailed; cancelling kills it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise ProgramFailed(f"{what}: {argv[0]} cannot be run ({error.strerror})") from error
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    words = said.decode(errors="replace")
    if process.returncode:
        raise ProgramFailed(f"{what} ended with {process.returncode}: {last_words(words)}", words)
    return words


def last_words(text: str, *, lines: int = 5) -> str:
    """The last lines of a program's output that are not empty."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])
