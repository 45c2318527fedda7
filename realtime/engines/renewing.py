"""A call's one stream to an engine: reached, renewed when it is lost or wanted otherwise, and let go of without being waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from realtime.engines.reaching import Tries
from realtime.ports import EngineUnavailable


class Closable(Protocol):
    async def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


def _nothing(*_told: object) -> None:
    """Nobody is there any more."""


async def _nowhere(_number: int) -> Any:
    raise EngineUnavailable("none", "the call is over")


class Renewing(Generic[S]):
    """Streams count by `number`: what one says that is not the present one is nobody's.

    `reach` opens the stream of a number, `take` is given it when it is ours. `broke` is told once, with the engine and the reason, when
    none can be reached any more.
    """

    def __init__(
        self, what: str, reach: Callable[[int], Awaitable[S]], take: Callable[[S], None], broke: Callable[[str, str], None]
    ) -> None:
        self._what, self._reach, self._take, self._broke = what, reach, take, broke
        self._tries = Tries()
        self._lost = asyncio.Event()
        self._letting_go: set[asyncio.Task[None]] = set()
        self.stream: S | None = None
        self.number = 0
        self.lost_because = ""
        self.broken = False

    async def keep(self) -> None:
        """Reach the engine, and again whenever the stream is gone, until it cannot be reached."""
        while not self.broken:
            await self.connect()
            await self._lost.wait()

    async def connect(self) -> None:
        """Reach the engine, in as many tries as that may take."""
        while not self.broken:
            # Also lets what is being closed say first how it went.
            await asyncio.sleep(self._tries.pause_seconds)
            self.number += 1
            number = self.number
            self._lost.clear()
            try:
                stream = await self._reach(number)
            except EngineUnavailable as cause:
                self._failed(cause.engine, cause.reason)
                continue
            if number == self.number:
                self.stream = stream
                self._take(stream)
                return
            # It broke, or was wanted otherwise, before it was ours.
            self._let_go(stream)

    def serves(self, number: int) -> bool:
        return number == self.number and not self.broken

    def worked(self) -> None:
        """The stream did something: what went wrong before is forgiven."""
        self._tries.worked()

    def lose(self, engine: str, reason: str) -> None:
        """The stream is of no use any more."""
        self.renew()
        self._failed(engine, reason)

    def renew(self) -> None:
        """Another stream is wanted: what this one still says is nobody's."""
        self.number += 1
        self._let_go(self.stream)
        self.stream = None
        self._lost.set()

    async def close(self) -> None:
        """Say and hear nothing more."""
        self.broken = True
        self._let_go(self.stream)
        self.stream = None
        if self._letting_go:
            await asyncio.wait(self._letting_go)
        # Whoever made us holds us, and these are theirs: none is to wait for a collector.
        self._reach, self._take, self._broke = _nowhere, _nothing, _nothing

    def _let_go(self, stream: S | None) -> None:
        if stream is not None:
            task = asyncio.get_running_loop().create_task(stream.close(), name=f"let go of a {self._what}")
            self._letting_go.add(task)
            task.add_done_callback(self._letting_go.discard)

    def _failed(self, engine: str, reason: str) -> None:
        self.lost_because = reason
        if not self._tries.failed(engine) and not self.broken:
            self.broken = True
            self._lost.set()
            self._broke(engine, reason)
