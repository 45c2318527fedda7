"""A lodging for callers who are not asynchronous: its event loop runs in a thread of its own."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from eventsourcing.persistence import DataError, InfrastructureFactoryError, IntegrityError, InternalError, OperationalError

from commands.decider import CommandRefused
from commands.dispatch import CommitInDoubt, CommitTooLarge, LogUnavailable
from commands.ports import LogAway
from infra.adapters.eventsourcing_log.lodging import Lease, Lodging

T = TypeVar("T")


class Residence:
    """Open at once, or not at all: raises InfrastructureFactoryError. Any thread may ask."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self._closing = asyncio.Event()
        self._opened: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, Lodging]] = concurrent.futures.Future()
        self._over: str | None = None
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, args=(lease,), name=f"events of {lease.application}", daemon=True)
        self._thread.start()
        try:
            self._loop, self._lodging = self._opened.result()
        except concurrent.futures.CancelledError:
            raise InfrastructureFactoryError(self._over) from None

    def ask(self, question: Callable[[Lodging], Coroutine[Any, Any, T]]) -> T:
        """Wait for an answer. Raises the library's own errors."""
        with self._turn:
            if self._over is not None:
                raise InternalError(self._over)
            answer = asyncio.run_coroutine_threadsafe(question(self._lodging), self._loop)
        try:
            return answer.result()
        except CommandRefused as error:
            raise IntegrityError(str(error)) from error
        except CommitTooLarge as error:
            raise DataError(str(error)) from error
        except CommitInDoubt as error:
            raise OperationalError(f"it is not known whether the events are stored: {error}") from error
        except (LogUnavailable, LogAway) as error:
            raise OperationalError(str(error)) from error
        except concurrent.futures.CancelledError:
            raise InternalError(self._over) from None

    def wake(self) -> None:
        """Let those look again who wait for the log to move; once it is closed there are none."""
        with self._turn:
            if self._over is None:
                asyncio.run_coroutine_threadsafe(self._lodging.wake(), self._loop)

    def close(self) -> None:
        """Release what is owned. Who waits for an answer is told that there will be none. Idempotent."""
        with self._turn:
            if self._over is None:
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self, lease: Lease) -> None:
        ended = f"the store of {lease.application} is closed"
        # Not uvloop: it does not close while a socket is open that some library forgot, and `close` would wait for ever.
        with asyncio.Runner() as runner:
            try:
                runner.run(self._live(lease))
            except Exception as error:  # noqa: BLE001 - the root of this thread: whoever asks is told
                cause = _first(error)
                ended = f"the store of {lease.application} had to close: {type(cause).__name__}: {cause}"
            with self._turn:
                self._over = ended
            # Questions that were on their way become tasks, and the runner ends all tasks.
            runner.run(asyncio.sleep(0))
        self._opened.cancel()

    async def _live(self, lease: Lease) -> None:
        lodging = Lodging(lease)
        await lodging.live(lambda: self._opened.set_result((asyncio.get_running_loop(), lodging)), self._closing)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
