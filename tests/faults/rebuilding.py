"""A process that rebuilds a projection beside the one that is read, to be killed: it says where it is, and stands there."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence

import uvloop

from events.admission import Fence
from events.flags import FlagSet
from events.records import AdmittedBatch
from events.streams import StreamId
from infra.adapters.postgres import builds
from infra.adapters.postgres.builds import build_of
from infra.adapters.postgres.comparing import compare
from infra.adapters.postgres.connections import connected
from infra.apps.beside import build_beside
from projections.journal import JOURNAL
from projections.ports import named
from tests.projections.paper import PaperReader
from tests.projections.told import AYB

SECOND = build_of(JOURNAL, 2)
EVENTS = 200


class Held(PaperReader):
    """A log that answers no more once so many batches were taken from it, or its end was asked for so often."""

    def __init__(self, *, batches: int = 2**31, ends: int = 2**31) -> None:
        super().__init__(seed=3, largest_batch=4)
        self._batches_left, self._ends_left = batches, ends

    async def end_offsets(self, topics: Sequence[str]) -> Mapping[tuple[str, int], int]:
        self._ends_left -= 1
        if self._ends_left < 0:
            await _stand("the end")
        return await super().end_offsets(topics)

    async def batches(
        self, topics: Sequence[str], start: Mapping[tuple[str, int], tuple[int, Fence]], *, stop_at_end: bool = False,
        places: Collection[tuple[str, int]] | None = None,
    ) -> AsyncGenerator[AdmittedBatch, None]:  # fmt: skip
        async for batch in super().batches(topics, start, stop_at_end=stop_at_end, places=places):
            self._batches_left -= 1
            if self._batches_left < 0:
                await _stand("a batch")
            yield batch


def history(log: PaperReader) -> PaperReader:
    """The same each time, wherever it is made."""
    for number in range(EVENTS):
        log.append(StreamId(AYB, "flags", f"flag-{number % 10}"), FlagSet(enabled=True, variant=f"variant {number}"))
    return log


async def _stand(where: str) -> None:
    print(where, flush=True)  # noqa: T201 - a program's answer
    await asyncio.Event().wait()


async def main(dsn: str, phase: str) -> None:
    """Rebuilds, compares and switches; held in the one phase by its log, in the others by whoever holds a lock."""
    log = history(
        Held(batches=20) if phase == "copying" else Held(ends=1) if phase == "catching up" else PaperReader(seed=3, largest_batch=4)
    )
    async with connected(dsn, purpose="rebuilding", durable=False) as pool:
        state = await build_beside(log, pool, SECOND)
        print(state.value, flush=True)  # noqa: T201 - a program's answer
        if phase in {"comparing", "switching"}:
            await asyncio.to_thread(sys.stdin.readline)
            await compare(pool, JOURNAL, SECOND)
            (there,) = [each for each in await builds.standing(pool, JOURNAL.name) if each.projection == named(SECOND)]
            await builds.switch(pool, there, [JOURNAL], within_seconds=60)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
