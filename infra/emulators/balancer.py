"""A load balancer as it stands before voice workers: one address, and behind it whoever is reached and says that it is ready."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

_CONNECT_SECONDS = 0.3
_LOOK_SECONDS = 0.2
_PIECE = 65_536


class Balancer:
    """Passes bytes on unread. A worker that refuses connections, or whose `/health` is not 200, is passed over for the next one."""

    def __init__(self, workers: Sequence[tuple[str, int]]) -> None:
        self._workers = list(workers)
        self._unready: set[tuple[str, int]] = set()
        self._turn = 0
        self._pipes: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listens within; gives the address."""
        server = await asyncio.start_server(self._serve, host, port)
        looking = asyncio.create_task(self._look(), name="ask the workers how they are")
        try:
            yield f"http://{host}:{server.sockets[0].getsockname()[1]}"
        finally:
            looking.cancel()
            server.close()
            for pipe in list(self._pipes):
                pipe.cancel()
            await asyncio.wait([looking, *self._pipes])

    def add(self, worker: tuple[str, int]) -> None:
        self._workers.append(worker)

    def prefer(self, worker: tuple[str, int]) -> None:
        """The next connection goes here, where it can."""
        self._turn = self._workers.index(worker)

    async def reached(self, worker: tuple[str, int]) -> None:
        """Returns once it says that it is ready: from then on connections go to it."""
        ready = await _ready(worker)
        while not ready:
            await asyncio.sleep(_LOOK_SECONDS)
            ready = await _ready(worker)
        self._unready.discard(worker)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)
        try:
            await self._pass_on(reader, writer)
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._workers:
            return
        order = [self._workers[(self._turn + at) % len(self._workers)] for at in range(len(self._workers))]
        self._turn = (self._turn + 1) % len(self._workers)
        for worker in sorted(order, key=lambda each: each in self._unready):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    there = await asyncio.open_connection(*worker)
            except (OSError, TimeoutError):
                self._unready.add(worker)
                continue
            with suppress(OSError):
                await _joined(reader, writer, *there)
            return

    async def _look(self) -> None:
        while True:
            for worker in self._workers:
                if await _ready(worker):
                    self._unready.discard(worker)
                else:
                    self._unready.add(worker)
            await asyncio.sleep(_LOOK_SECONDS)


async def _joined(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, back: asyncio.StreamReader, forth: asyncio.StreamWriter
) -> None:  # fmt: skip
    """Until either side closes; then both are closed."""
    pipes = {asyncio.create_task(_piped(reader, forth)), asyncio.create_task(_piped(back, writer))}
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pipe in pipes:
            pipe.cancel()
        forth.close()
        await asyncio.wait(pipes)


async def _piped(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE):
            target.write(piece)
            await target.drain()


async def _ready(worker: tuple[str, int]) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(*worker)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n")
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in line
