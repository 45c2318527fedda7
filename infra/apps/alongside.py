"""Work that goes on while a block runs: its failure ends the block, the block's own error comes out as it is."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def alongside(work: Mapping[str, Callable[[], Coroutine[Any, Any, None]]], *, cancel: bool = True) -> AsyncIterator[None]:
    """Tasks by name. At the block's end they are cancelled, or waited for where `cancel` is off.

    Raises what one of them failed with, or an ExceptionGroup where several did.
    """
    own: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(each(), name=name) for name, each in work.items()]
            try:
                yield
            except asyncio.CancelledError:
                # Ours from outside, or the group's because a task failed; the group knows which.
                raise
            except BaseException as error:
                own = error
            if cancel:
                for task in started:
                    task.cancel()
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        if len(leaves) == 1:
            raise leaves[0] from group
        raise
    if own is not None:
        raise own


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
