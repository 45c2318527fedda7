"""Streams of engines that were closed: gone at once, not when a collector of garbage comes by."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from infra.adapters.deepgram.listen import ListenStream
from infra.adapters.deepgram.speak import SpeakStream
from infra.adapters.one_text_at_a_time import OneTextAtATime


class Quiet:
    """A socket of the SDK's over which nothing comes."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    async def send_media(self, _: bytes) -> None: ...
    async def send_text(self, _: object) -> None: ...
    async def send_flush(self) -> None: ...


async def no_sound(_: str) -> AsyncGenerator[bytes, None]:
    await asyncio.Event().wait()
    yield b""


def hears(_: object) -> None:
    """Nothing comes."""


def listening() -> ListenStream:
    stream = ListenStream(Quiet(), AsyncExitStack(), hears, 4.0)
    stream.send(bytes(1_600))
    return stream


def speaking() -> SpeakStream:
    stream = SpeakStream(Quiet(), AsyncExitStack(), hears)
    stream.speak(1, "Hello.", flush=True)
    return stream


def one_at_a_time() -> OneTextAtATime:
    stream = OneTextAtATime("voice", no_sound, hears)
    stream.speak(1, "Hello.", flush=True)
    return stream


Opened = Callable[[], ListenStream | SpeakStream | OneTextAtATime]


async def gone_when_closed(opened: Opened, *, held: bool = False) -> bool:
    gc.disable()
    try:
        stream = opened()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await stream.close()
        watched, holder = weakref.ref(stream), [stream]
        if not held:
            holder.clear()
        del stream
        # Whoever was woken by its end goes on first.
        await asyncio.sleep(0)
        return watched() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("opened", [listening, speaking, one_at_a_time])
class TestClosedStream:
    async def test_waits_for_no_collector(self, opened: Opened) -> None:
        assert await gone_when_closed(opened)

    async def test_would_be_found_if_somebody_held_it(self, opened: Opened) -> None:
        assert not await gone_when_closed(opened, held=True)
