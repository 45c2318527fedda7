"""The bench's mind behind Bedrock's wire: the same answer word by word at fixed delays, and a note of what it was told was heard."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from realtime.ports import ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage
from tests.benchmarks.voice.providing import Provided
from tests.benchmarks.voice.words import words_of

FIRST_TOKEN_AFTER_MS: Final = 250
TOKEN_EVERY_MS: Final = 12
DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
REPLY: Final = "Of course, with pleasure. We open at nine on weekdays, and close at half past four in winter."


def number_in(words: list[str]) -> tuple[str, ...]:
    """The three digits that a caller said last, by which everybody knows whose words these are."""
    for at in range(len(words) - 3, -1, -1):
        if all(word in DIGITS for word in words[at : at + 3]):
            return tuple(words[at : at + 3])
    return ()


class Mind:
    """Notes each request: the caller by their number, then the last words of its own that it takes for heard."""

    name = "bench/mind"
    embedded = True

    def __init__(self, house: Provided) -> None:
        self._house = house

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        said = [message for message in request.messages if message.role == "user"]
        heard = [message for message in request.messages if message.role == "assistant"]
        number = next((found for message in reversed(said) if (found := number_in(words_of(message.text)))), ())
        self._house.note("asked", [" ".join(number), *words_of(heard[-1].text if heard else "")])
        tokens = [f"{word} " for word in REPLY.split()]
        self._house.counters["questions"] += 1
        for at, token in enumerate(tokens):
            due = began + (FIRST_TOKEN_AFTER_MS + at * TOKEN_EVERY_MS) / 1000
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield TextDelta(text=token)
        self._house.counters["answers"] += 1
        yield ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=200, output_tokens=len(tokens)))
