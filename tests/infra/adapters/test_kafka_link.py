"""A link leaves no socket behind: with one left open, uvloop does not close, and the process does not end."""

import asyncio

import pytest

from infra.adapters.kafka.link import Link
from infra.local.ports import LOOPBACK


class TestCancelledWhileItIsOpened:
    async def test_lets_go_of_a_broker_that_answers(self, kafka: str) -> None:
        before = set(asyncio.all_tasks())
        opening = asyncio.create_task(Link(kafka, "test").__aenter__())
        while len(asyncio.all_tasks() - before) < 3:
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        assert asyncio.all_tasks() == before

    # The library closes the connection when it is forgotten, and says that this was late.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
    async def test_lets_go_of_a_broker_that_says_nothing(self) -> None:
        accepted, closed = asyncio.Event(), asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            while await reader.read(1024):
                pass
            closed.set()
            writer.close()

        async with await asyncio.start_server(say_nothing, LOOPBACK, 0) as server:
            host, port = server.sockets[0].getsockname()
            opening = asyncio.create_task(Link(f"{host}:{port}", "test").__aenter__())
            await accepted.wait()
            opening.cancel()
            await asyncio.wait([opening])
            assert opening.cancelled()
            async with asyncio.timeout(120):
                await closed.wait()
