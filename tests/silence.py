"""A door to PostgreSQL that can fall silent: what is connected stays connected, and nothing comes any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """`dsn` leads through it. Once `silent` is set it passes nothing on, either way; who knocks then is let in and hears nothing."""

    dsn: str
    silent: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def door_to(dsn: str) -> AsyncIterator[Door]:
    """A door on a free port, to a PostgreSQL that listens at a socket in a folder."""
    parts = urlsplit(dsn)
    told = parse_qs(parts.query)
    socket = f"{told['host'][0]}/.s.PGSQL.{told.get('port', ['5432'])[0]}"
    inside: set[asyncio.Task[None]] = set()

    async def passing(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if door.silent.is_set():
                await asyncio.Event().wait()
            to.write(data)
            await to.drain()
        to.close()

    async def between(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with closing(to_client):
            server, to_server = await asyncio.open_unix_connection(socket)
            with closing(to_server), suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as both:
                    both.create_task(passing(client, to_server), name="to PostgreSQL")
                    both.create_task(passing(server, to_client), name="from PostgreSQL")

    def entered(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if not listening.is_serving():
            to_client.close()
            return
        task = asyncio.create_task(between(client, to_client), name="door")
        inside.add(task)
        task.add_done_callback(inside.discard)

    listening = await asyncio.start_server(entered, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    door = Door(dsn=f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}")
    try:
        yield door
    finally:
        listening.close()
        for each in tuple(inside):
            each.cancel()
        if inside:
            await asyncio.wait(tuple(inside))
        # What was closed has its end told on the next turn of the loop.
        await asyncio.sleep(0)
