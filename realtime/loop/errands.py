"""What a call has done for it while it talks on: questions to the model, tools, a word to the carrier. Each is a task of the call's."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from realtime.control.ports import CapturedDigits, Faults
from realtime.machine import signals
from realtime.ports import (
    EngineChanged,
    EngineUnavailable,
    LanguageModel,
    ModelRequest,
    ModelStopped,
    Reasoning,
    Telephony,
    TextDelta,
    ToolFailed,
    Tools,
    ToolUse,
    TransferRefused,
)

log = structlog.get_logger()

# The carrier is told, and given this long to answer, before the call is put down as ended.
_HANG_UP_SECONDS = 5.0


class Errands:
    """Each errand ends in a signal, but for those that were cancelled."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        model: LanguageModel,
        tools: Tools,
        give: Callable[[signals.Signal], None],
        now_ms: Callable[[], int],
        faults: Faults,
    ) -> None:
        """`faults` is for the call's own tools as well, of which `tools` knows nothing."""
        self._tasks, self._faults = tasks, faults
        self._model, self._tools = model, tools
        self._give, self._now_ms = give, now_ms
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def ask(self, asked: int, request: ModelRequest) -> None:
        self._begin(f"question {asked}", self._converse(asked, request))

    def cancel_question(self, asked: int) -> None:
        self._cancel(f"question {asked}")

    def run_tool(self, use: ToolUse, key: str) -> None:
        self._begin(f"tool {use.tool_use_id}", self._run_tool(use, key))

    def cancel_tool(self, tool_use_id: str) -> None:
        self._cancel(f"tool {tool_use_id}")

    def hang_up(self, telephony: Telephony, call_sid: str) -> None:
        # Not kept among what can be cancelled: the call may be over for us before the carrier has answered.
        self._tasks.create_task(_hang_up(telephony, call_sid), name="hang up")

    def transfer(self, telephony: Telephony, call_sid: str, number: str, *, told_at: str) -> None:
        self._tasks.create_task(self._transfer(telephony, call_sid, number, told_at), name="transfer")

    def keep_digits(self, vault: CapturedDigits | None, call_id: str, capture: int, digits: bytearray) -> None:
        self._begin(f"capture {capture}", self._keep_digits(vault, call_id, capture, digits))

    def cancel_all(self) -> None:
        for name in list(self._under_way):
            self._cancel(name)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work, name=name)
        self._under_way[name] = task
        task.add_done_callback(lambda _: self._under_way.pop(name, None))

    def _cancel(self, name: str) -> None:
        if task := self._under_way.pop(name, None):
            task.cancel()

    async def _converse(self, asked: int, request: ModelRequest) -> None:
        try:
            await self._stream(asked, request)
        except EngineUnavailable as cause:
            broke = signals.EngineBroke(
                at_ms=self._now_ms(), engine=signals.Engine.MODEL, name=cause.engine, reason=cause.reason, asked=asked
            )
            self._give(broke)

    async def _stream(self, asked: int, request: ModelRequest) -> None:
        async for event in self._model.converse(request):
            match event:
                case TextDelta(text=text):
                    self._give(signals.ModelSaid(at_ms=self._now_ms(), asked=asked, text=text))
                case Reasoning():
                    self._give(signals.ModelThought(at_ms=self._now_ms(), asked=asked, reasoning=event))
                case ToolUse():
                    faults = self._tools.faults(event) or self._faults(event)
                    self._give(signals.ModelWantsTool(at_ms=self._now_ms(), asked=asked, use=event, faults=faults))
                case EngineChanged(engine=engine, instead_of=instead_of, reason=reason):
                    taken = signals.EngineTaken(
                        at_ms=self._now_ms(), engine=signals.Engine.MODEL, name=engine, instead_of=instead_of, reason=reason
                    )
                    self._give(taken)
                case ModelStopped(reason=reason, usage=usage):
                    self._give(signals.ModelDone(at_ms=self._now_ms(), asked=asked, reason=reason, usage=usage))
                    return
        raise EngineUnavailable(self._model.name, "the reply has no end")

    async def _run_tool(self, use: ToolUse, key: str) -> None:
        try:
            content, failed = await self._tools.run(use, idempotency_key=key), False
        except ToolFailed as cause:
            content, failed = str(cause), True
        self._give(signals.ToolReturned(at_ms=self._now_ms(), tool_use_id=use.tool_use_id, content=content, failed=failed))

    async def _transfer(self, telephony: Telephony, call_sid: str, number: str, told_at: str) -> None:
        try:
            async with asyncio.timeout(_HANG_UP_SECONDS):
                await telephony.transfer(call_sid, number, told_at=told_at)
        except TransferRefused as refused:
            failure = refused.reason
        except (EngineUnavailable, TimeoutError) as cause:
            log.warning("the carrier could not be told to put a caller through", cause=str(cause))
            failure = "carrier-away"
        else:
            failure = ""
        self._give(signals.PutThrough(at_ms=self._now_ms(), failure=failure))

    async def _keep_digits(self, vault: CapturedDigits | None, call_id: str, capture: int, digits: bytearray) -> None:
        count, reference = len(digits), ""
        try:
            if vault is not None and digits:
                reference = await vault.keep(call_id, digits)
        except OSError as cause:
            # Nothing of the digits is in such an error.
            log.warning("captured digits could not be kept", cause=type(cause).__name__)
        finally:
            digits[:] = bytes(len(digits))
        self._give(signals.DigitsKept(at_ms=self._now_ms(), capture=capture, count=count, reference=reference))


async def _hang_up(telephony: Telephony, call_sid: str) -> None:
    try:
        async with asyncio.timeout(_HANG_UP_SECONDS):
            await telephony.hang_up(call_sid)
    except (EngineUnavailable, TimeoutError) as cause:
        # The stream is closed, so the carrier asks what follows, and is told to hang up there.
        log.warning("the carrier could not be told to hang up", cause=str(cause))


class Alarms:
    """A call's timers, by the loop's clock. A timer that is set again moves."""

    def __init__(self, loop: asyncio.AbstractEventLoop, began: float, fire: Callable[[signals.Timer, str], None]) -> None:
        self._loop, self._began, self._fire = loop, began, fire
        self._handles: dict[tuple[signals.Timer, str], asyncio.TimerHandle] = {}

    def set(self, timer: signals.Timer, of: str, at_ms: int) -> None:
        self.cancel(timer, of)
        self._handles[timer, of] = self._loop.call_at(self._began + at_ms / 1000, self._due, timer, of)

    def cancel(self, timer: signals.Timer, of: str) -> None:
        if handle := self._handles.pop((timer, of), None):
            handle.cancel()

    def cancel_all(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _due(self, timer: signals.Timer, of: str) -> None:
        self._handles.pop((timer, of), None)
        self._fire(timer, of)
