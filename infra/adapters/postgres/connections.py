"""Pools of connections to PostgreSQL, and which of its errors mean that it is away."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
_COMMAND_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
# Away, starting, stopping, full, or two transactions in each other's way: the same later may succeed.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
)


class PostgresUnreachable(Exception):
    """PostgreSQL does not answer; the text says what to do."""


@asynccontextmanager
async def connected(
    dsn: str,
    *,
    purpose: str,
    most: int = 4,
    least: int = 1,
    durable: bool = True,
    prepare: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
    tidy: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
) -> AsyncIterator[Pool]:
    """A pool of at most `most` connections. Raises PostgresUnreachable; with none at `least`, only whoever then asks it hears of that.

    Not `durable`: a crash of the server may take the last commits, whole ones only. Enough for what is a fold of the log.
    `prepare` is done once to each connection, `tidy` to one that is given back (open transactions are rolled back first); None: all that
    was set on it is forgotten, which costs a round trip. `as_it_is` does nothing.
    """
    settings = {
        "application_name": f"aybiza {purpose}",
        "timezone": "UTC",
        "synchronous_commit": "on" if durable else "off",
        # Our statements are short and known: compiling them at run time costs more than it brings.
        "jit": "off",
        # TimescaleDB 2.29 refuses to plan some of our questions for distinct values by it. Elsewhere this is a word that nobody hears.
        "timescaledb.enable_skipscan": "off",
    }
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=least,
            max_size=most,
            server_settings=settings,
            command_timeout=_COMMAND_SECONDS,
            timeout=_CONNECT_SECONDS,
            init=prepare,
            reset=tidy,
        )
    except (*AWAY, asyncpg.PostgresError, ValueError) as cause:
        raise PostgresUnreachable(
            f"PostgreSQL does not answer ({type(cause).__name__}: {cause}). Start it (aybiza up), or set DATABASE_URL"
        ) from cause
    try:
        yield pool
    finally:
        pool.terminate()


async def as_it_is(connection: Connection) -> None:
    """For who leaves nothing on a connection that the next one could mind."""


@contextmanager
def raising(unavailable: type[Exception]) -> Iterator[None]:
    """Say `unavailable` where PostgreSQL is away. A value that it cannot take is no such case (ValueError, DataError)."""
    try:
        yield
    except ValueError:
        # asyncpg's own word for a value that fits no column is an InterfaceError too.
        raise
    except AWAY as cause:
        raise unavailable(f"PostgreSQL is away ({type(cause).__name__}: {cause})") from cause


async def identity_of(pool: Pool) -> str:
    """Which database this is, whatever its address: processes that write into the same one share its work. Raises PostgresUnreachable."""
    with raising(PostgresUnreachable):
        told = await pool.fetchval("SELECT system_identifier || '/' || current_database() FROM pg_control_system()")
    return hashlib.sha256(str(told).encode()).hexdigest()[:12]
