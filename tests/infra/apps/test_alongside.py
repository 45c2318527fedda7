"""Work beside a block: whose error comes out, and who is stopped."""

import asyncio

import pytest

from infra.apps.alongside import alongside


class Broken(Exception):
    pass


async def for_ever() -> None:
    await asyncio.Event().wait()


async def breaks() -> None:
    raise Broken("the task")


class TestAlongside:
    async def test_ends_its_work_with_the_block(self) -> None:
        ended = []

        async def work() -> None:
            try:
                await for_ever()
            finally:
                ended.append(True)

        async with alongside({"work": work}):
            await asyncio.sleep(0)
        assert ended == [True]

    async def test_lets_the_blocks_own_error_out_as_it_is(self) -> None:
        with pytest.raises(Broken, match="the block"):
            async with alongside({"work": for_ever}):
                raise Broken("the block")

    async def test_ends_the_block_when_the_work_fails_and_says_with_what(self) -> None:
        with pytest.raises(Broken, match="the task"):
            async with alongside({"outer": for_ever}), alongside({"inner": breaks}):
                await for_ever()

    async def test_waits_for_work_that_is_to_end_by_itself(self) -> None:
        told, done = asyncio.Event(), []

        async def work() -> None:
            await told.wait()
            done.append(True)

        async with alongside({"work": work}, cancel=False):
            told.set()
        assert done == [True]

    async def test_passes_on_a_cancellation_from_outside(self) -> None:
        begun = asyncio.Event()

        async def block() -> None:
            async with alongside({"work": for_ever}):
                begun.set()
                await for_ever()

        task = asyncio.create_task(block())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
