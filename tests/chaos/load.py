"""Callers who want something done whatever breaks: each answer is kept, and an answer that did not come is asked for again."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

from commands.dispatch import CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable, Order
from commands.flags import FlagCommand, RemoveFlag, SetFlag
from events.streams import StreamId
from infra.local.ports import LOOPBACK
from tests.chaos.wire import asked, order_of, outcome_of
from tests.simulator.history import Attempt, Outcome, Wanted

_AGAIN_SECONDS = 0.05
Doubts: TypeAlias = Literal["same-id", "new-id"]
"""What a caller does when it does not know: ask again under the same id; or, wrongly, take it for a failure and begin anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How callers behave: how many they are, how long each waits for an answer, and what it makes of none."""

    callers: int = 16
    pause_seconds: float = 0.01
    patience_seconds: float = 3.0
    doubts: Doubts = "same-id"


PATIENT = Manners()


class Line:
    """A caller's way to one worker, opened again whenever it breaks."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._numbers = itertools.count()

    @property
    def open(self) -> bool:
        return self._writer is not None and not self._writer.is_closing()

    async def keep(self) -> None:
        while True:
            try:
                with contextlib.suppress(OSError):
                    reader, self._writer = await asyncio.open_connection(LOOPBACK, self._port)
                    await self._listen(reader)
            finally:
                self._broken()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """None: no answer came, and none will be heard."""
        writer = self._writer
        if writer is None or writer.is_closing():
            await asyncio.sleep(_AGAIN_SECONDS)
            return {"outcome": "unavailable", "retry_ms": 0, "reason": "nobody listens there"}
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        writer.write(json.dumps(request | {"n": number}).encode() + b"\n")
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(number, None)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer["n"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def _broken(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)


class Load:
    """All callers of a run. `attempts` is everything that was asked and heard; `kept` holds it for people as it came."""

    def __init__(self, streams: Sequence[StreamId], lines: Sequence[Line], draw: Random, kept: Path, manners: Manners) -> None:
        self.attempts: list[Attempt] = []
        self.promised: list[Attempt] = []
        """What a spool took: it has to come onto the log."""
        self.stopping = asyncio.Event()
        self._streams = streams
        self._lines = lines
        self._draw = draw
        self._kept = kept.open("w")
        self._manners = manners
        self._wanted: list[Wanted] = []
        self._ids = itertools.count()
        self._known: dict[StreamId, int] = {}

    async def caller(self, number: int) -> None:
        """Wants one thing after the other until the end, and sees each through: what is in doubt is never left so.

        It begins each at the same worker: were it at any, soon all would wait at one that is frozen, and nobody would need what it owns.
        """
        draw, name = self._draw, f"caller-{number}"
        while not self.stopping.is_set():
            await asyncio.sleep(self._manners.pause_seconds * 2 * draw.random())
            wanted, at = self._something(), number % len(self._lines)
            while True:
                outcome = await self._attempt(name, self._lines[at], wanted)
                if isinstance(outcome, LogUnavailable):
                    await asyncio.sleep(min(outcome.retry_after_ms, 200) / 1000)
                elif outcome is not None and not isinstance(outcome, CommitInDoubt):
                    break
                elif self._manners.doubts == "new-id":
                    wanted = self._new(wanted.stream, wanted.command, None, None)
                at = draw.randrange(len(self._lines))

    async def spooled(self, name: str, line: Line, *, patience_seconds: float) -> str:
        """Hand one wish to a spool, once: `kept`, `full`, or no answer."""
        loop, draw = asyncio.get_running_loop(), self._draw
        wanted = self._new(draw.choice(self._streams), SetFlag(enabled=True, variant=f"spooled-{next(self._ids)}"), None, None)
        attempt = Attempt(number=len(self.attempts), client=name, process=line.name, wanted=wanted, begun=loop.time())
        self.attempts.append(attempt)
        answer = await line.ask(asked(wanted), patience_seconds)
        said = "no answer" if answer is None else answer["outcome"]
        # A spool that is full has kept nothing; what it has kept may come whenever it does.
        attempt.ended = loop.time()
        attempt.outcome = LogUnavailable("the spool is full") if said in {"full", "unavailable"} else None
        if said == "kept":
            self.promised.append(attempt)
        return str(said)

    def close(self) -> None:
        self._kept.close()

    def _something(self) -> Wanted:
        draw = self._draw
        drawn = draw.random()
        earlier = draw.choice(self._wanted[-50:]) if self._wanted else None
        if earlier is not None and drawn < 0.08:
            return earlier
        command = RemoveFlag() if draw.random() < 0.1 else SetFlag(enabled=True, variant=f"wish-{len(self._wanted)}")
        if earlier is not None and drawn < 0.1:
            wanted = self._new(earlier.stream, command, earlier.order.command_id, None)
        else:
            stream = draw.choice(self._streams)
            expected = self._known.get(stream, 0) if draw.random() < 0.4 else None
            wanted = self._new(stream, command, None, expected)
        self._wanted.append(wanted)
        return wanted

    def _new(self, stream: StreamId, command: FlagCommand, command_id: bytes | None, expected: int | None) -> Wanted:
        command_id = command_id or f"c{next(self._ids)}".encode().ljust(16, b".")
        order: Order = order_of({"id": command_id.hex(), "digest": self._draw.randbytes(16).hex()})
        return Wanted(stream=stream, command=command, order=order, expected_version=expected)

    async def _attempt(self, name: str, line: Line, wanted: Wanted) -> Outcome:
        loop = asyncio.get_running_loop()
        attempt = Attempt(number=len(self.attempts), client=name, process=line.name, wanted=wanted, begun=loop.time())
        self.attempts.append(attempt)
        request = asked(wanted)
        answer = await line.ask(request, self._manners.patience_seconds)
        attempt.ended, attempt.outcome = loop.time(), outcome_of(answer)
        if isinstance(attempt.outcome, Committed):
            self._known[wanted.stream] = attempt.outcome.version
        elif isinstance(attempt.outcome, ExpectedVersionMismatch):
            self._known[wanted.stream] = attempt.outcome.found
        begun_and_ended = {"begun": round(attempt.begun, 4), "ended": round(attempt.ended, 4)}
        said = {"attempt": attempt.number, "caller": name, "worker": line.name} | begun_and_ended | request | {"heard": answer}
        self._kept.write(json.dumps(said) + "\n")
        return attempt.outcome
