"""Time that is drawn, not waited for: one scheduler turns the loops of all processes, and jumps to the next timer when all are idle."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any


class _Handle(asyncio.TimerHandle):
    """A callback and the process that it belongs to."""

    __slots__ = ()

    def __init__(self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: "ProcessLoop", context: Context | None):
        self._when = when
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        # What it would have called need not be kept.
        self._callback = self._args = None  # type: ignore[assignment]


class Scheduler:
    """Runs one callback after the other, in the order of time and then of arrival. `turns` counts them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        self._running: ProcessLoop | None = None
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._sequence = 0

    def loop(self, name: str) -> "ProcessLoop":
        return ProcessLoop(self, name)

    def soon(self, handle: _Handle) -> None:
        self._ready.append(handle)

    def later(self, handle: _Handle) -> None:
        self._sequence += 1
        heappush(self._timers, (handle.when(), self._sequence, handle))

    def run(self, until: Callable[[], bool], most_turns: int) -> bool:
        """Whether `until` came true; False when nothing more can happen, or too much did."""
        before, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        most_turns += self.turns
        self._running = None
        try:
            while not until():
                if not self._ready and not self._jump():
                    return False
                for _ in range(len(self._ready)):
                    self._turn(self._ready.popleft())
                if self.turns > most_turns:
                    return False
        finally:
            asyncio._set_running_loop(before)
            sys.set_asyncgen_hooks(*hooks)
        return True

    def _jump(self) -> bool:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            return False
        self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            self._ready.append(heappop(timers)[2])
        return True

    def _turn(self, handle: _Handle) -> None:
        loop = handle._loop
        if handle._cancelled or loop.dead:
            return
        if loop.parked is not None:
            loop.parked.append(handle)
            return
        self.turns += 1
        if self._running is not loop:
            self._running = loop
            asyncio._set_running_loop(loop)
            sys.set_asyncgen_hooks(finalizer=loop.finalize)
        handle._context.run(handle._callback, *handle._args)
        if loop.fuse is not None:
            loop.fuse -= 1
            if loop.fuse <= 0:
                loop.fuse = None
                loop.burnt()


class ProcessLoop(asyncio.BaseEventLoop):
    """What one process takes for its event loop. A dead one runs nothing any more; a paused one runs everything later, in order.

    `fuse`, when set, counts down the turns until `burnt` is called: between any two awaits.
    """

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        # A running loop would be woken by its own beginning.
        self.dead = True
        super().__init__()
        self.dead = False
        self.name = name
        self.parked: list[_Handle] | None = None
        self.fuse: int | None = None
        self.burnt: Callable[[], None] = lambda: None
        self.bugs: list[BaseException] = []
        self._begun: list[asyncio.Task[Any]] = []
        self._many = 100
        self._scheduler = scheduler

    def __del__(self) -> None:
        """It holds nothing that would have to be closed."""

    def pause(self) -> None:
        if self.parked is None:
            self.parked = []

    def resume(self) -> None:
        parked, self.parked = self.parked, None
        for handle in parked or ():
            self._scheduler.soon(handle)

    def tasks(self) -> list["asyncio.Task[Any]"]:
        """Those that have not ended, by name."""
        self._begun = [task for task in self._begun if not task.done()]
        return sorted(self._begun, key=lambda task: task.get_name())

    def time(self) -> float:
        return self._scheduler.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        handle = _Handle(self._scheduler.now, callback, args, self, context)
        if not self.dead:
            self._scheduler.soon(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._scheduler.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Handle(when, callback, args, self, context)
        self._scheduler.later(handle)
        return handle

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> "asyncio.Task[Any]":
        task = asyncio.Task(coro, loop=self, name=None if name is None else str(name), context=context)
        if self.dead:
            bury(task)
            return task
        self._begun.append(task)
        if len(self._begun) > self._many:
            self._many = 2 * len(self.tasks()) + 100
        return task

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        """A generator was left before its end: it is closed, unless the process died."""
        if not self.dead:
            self.create_task(generator.aclose())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not self.dead:
            self.bugs.append(error)


def bury(task: "asyncio.Task[Any]") -> None:
    """Unwind a task of a dead loop, without a word. Nothing that it still tries comes to pass."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    before, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
    loop: Any = task.get_loop()
    asyncio._set_running_loop(loop)
    sys.set_asyncgen_hooks(finalizer=loop.finalize)
    try:
        # Each attempt to clean up awaits something, and is ended there.
        for _ in range(50):
            try:
                coroutine.close()
            except RuntimeError:
                continue
            # A group of tasks ends with what ended its members.
            except BaseExceptionGroup:
                break
            break
    finally:
        asyncio._set_running_loop(before)
        sys.set_asyncgen_hooks(*hooks)


_FLOORS = ("/commands/", "/realtime/")


def site_of(task: "asyncio.Task[Any]") -> str:
    """Where a task of the product stands: its innermost function on the floor, and what that awaits."""
    function, deeper = "", ""
    for awaited in _awaiting(task.get_coro()):
        code = getattr(awaited, "cr_code", None) or getattr(awaited, "ag_code", None)
        if code is not None and "/tests/" not in code.co_filename and any(floor in code.co_filename for floor in _FLOORS):
            function, deeper = code.co_qualname, ""
        elif function and not deeper:
            deeper = code.co_name if code is not None else _WORDS.get(type(awaited).__name__, "")
    return f"{function} > {deeper}" if deeper else function


_WORDS = {"async_generator_asend": "read", "FutureIter": "", "Future": ""}


def _awaiting(awaited: Any) -> Iterator[Any]:
    while awaited is not None:
        yield awaited
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
