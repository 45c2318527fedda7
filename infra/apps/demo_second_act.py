"""The demo's second act: a worker of its own takes a call, is killed in the middle of a reply, and the call goes on with another."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.text import Text

from events.admission import UNCLAIMED
from events.calls.ringing import CallAnswered
from events.calls.talking import CallerTurn
from events.headers import Kind
from events.records import recorded
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.apps.alongside import alongside
from infra.apps.calling import Reach, tell
from infra.apps.demo_business.opening import Business
from infra.apps.demo_checks import Finding
from infra.apps.live import narrated
from infra.apps.ringing import CallersRecord, Line, RingingFailed, ring
from infra.apps.story import CallStory
from infra.emulators.balancer import Balancer
from infra.local.ports import free_ports
from infra.settings import Settings
from realtime.audio import BYTES_PER_MS, decode

CALLER = "+12025550187"
LINES = (Line(text="What are your prices?"),)
WITHIN_MS = 2000
_HOST = "127.0.0.1"
_INTO_THE_REPLY_SECONDS = 2.0
_READY_SECONDS = 60.0
# An answer takes longer where the machine is busy; the other call goes on meanwhile anyway.
_PATIENCE_MS = 6000
_LOUD = 60.0
_STEP_MS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Two workers behind one address: the platform's own, and one that can be spared."""

    settings: Settings
    url: str
    balancer: Balancer
    platform: tuple[str, int]
    spare: tuple[str, int]
    environment: dict[str, str]


@asynccontextmanager
async def opened_stage(settings: Settings) -> AsyncIterator[Stage]:
    """`settings` of the value are for the platform: behind the balancer, with a media socket of its own."""
    here, media, there, media_there = free_ports(4)
    balancer = Balancer([(_HOST, here), (_HOST, there)])
    async with balancer.serving() as url:
        behind = settings.model_copy(update={
            "http_port": here, "media_port": media, "public_url": url, "media_url": f"ws://{_HOST}:{media}/media",
        })  # fmt: skip
        environment = {
            "AYBIZA_HTTP_PORT": str(there), "AYBIZA_MEDIA_PORT": str(media_there), "AYBIZA_PUBLIC_URL": url,
            "AYBIZA_MEDIA_URL": f"ws://{_HOST}:{media_there}/media", "AYBIZA_STATE_DIR": str(settings.state_dir),
            "AYBIZA_CACHE_DIR": str(settings.cache_dir),
        }  # fmt: skip
        balancer.prefer((_HOST, here))
        yield Stage(settings=behind, url=url, balancer=balancer, platform=(_HOST, here), spare=(_HOST, there), environment=environment)


@asynccontextmanager
async def spare_worker(stage: Stage) -> AsyncIterator[Process]:
    """`aybiza run realtime`, until it is killed or told to stop."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.apps", "run", "realtime", env={**os.environ, **stage.environment}, stdout=PIPE, stderr=DEVNULL
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await child.communicate()


async def ready(child: Process) -> None:
    """Raises RingingFailed when the worker does not come up."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            line = await child.stdout.readline() if child.stdout is not None else b""
    except TimeoutError as cause:
        raise RingingFailed("the second voice worker is not ready in time") from cause
    if not line:
        raise RingingFailed("the second voice worker did not start; type: aybiza run realtime")


class SecondAct:
    """One call to the spare worker, which is killed in the middle of its answer. What happens in it is kept until it is to be told."""

    def __init__(self, stage: Stage, reach: Reach, business: Business, reader: KafkaLogReader) -> None:
        self._stage = stage
        self._reach = reach
        self._business = business
        self._reader = reader
        self._kept: list[Text] = []
        self._tell: Callable[[Text], None] = self._kept.append
        self.found: Sequence[Finding] = ()
        self.over = asyncio.Event()

    def tell(self, tell: Callable[[Text], None]) -> None:
        """What happened so far, and from now on at once."""
        for line in self._kept:
            tell(line)
        self._tell = tell

    def _hear(self, line: Text) -> None:
        self._tell(line)

    async def play(self, begin: asyncio.Event, ear: Path) -> None:
        """Raises RingingFailed. `begin`: a worker's start takes a whole core, which the first ring had better have for itself."""
        await begin.wait()
        stage, key_ring = self._stage, self._reach.installation.key_ring
        async with spare_worker(stage) as child:
            await ready(child)
            await stage.balancer.reached(stage.spare)
            stage.balancer.prefer(stage.spare)
            ends = await self._reader.end_offsets([topic_of("calls")])
            async with (
                narrated(self._reader, key_ring, self._hear, caller=CALLER),
                alongside({"kill the worker in mid-reply": lambda: _kill(self._reader, ends, child)}),
            ):
                record = await ring(
                    self._reach.installation, stage.url, number=self._business.number, caller=CALLER, lines=LINES,
                    patience_ms=_PATIENCE_MS, ear=ear,
                )  # fmt: skip
                # Its last facts come after the line is dead.
                story = await tell(self._reach, self._business, record)
        heard = await asyncio.to_thread((ear / "heard.ulaw").read_bytes)
        self.found = findings(story, record, heard, killed=child.returncode is not None and child.returncode < 0)
        self.over.set()


async def _kill(reader: KafkaLogReader, ends: Mapping[tuple[str, int], int], child: Process) -> None:
    """The moment is found on the log: the caller's words are there, and so the answer is on its way."""
    mine = set()
    async with aclosing(reader.batches([topic_of("calls")], dict.fromkeys(ends, (0, UNCLAIMED)))) as batches:
        async for batch in batches:
            for raw in batch.records:
                if raw.offset < ends[raw.topic, raw.partition] or raw.header is None or raw.header.kind is not Kind.EVENT:
                    continue
                found = recorded(raw, reader.codec)
                if isinstance(found.fact, CallAnswered) and found.fact.worker.endswith(f"-{child.pid}"):
                    mine.add(found.stream)
                if isinstance(found.fact, CallerTurn) and found.stream in mine:
                    await asyncio.sleep(_INTO_THE_REPLY_SECONDS)
                    child.kill()
                    return


def findings(story: CallStory, record: CallersRecord, heard: bytes, *, killed: bool) -> Sequence[Finding]:
    """What the second act can prove."""
    broke_ms = next((note["line_ms"] for note in record.notes if note["event"] == "stream-stopped" and note["by"] == "worker"), None)
    again_ms = None if broke_ms is None else _sounds_after(heard, broke_ms)
    kinds = [each.entry.kind for each in story.happenings]
    resumed = [each for each in story.happenings if each.entry.kind == "call-resumed"]
    turns = [each.entry.turn or 0 for each in story.happenings if each.entry.kind == "caller-turn"]
    return [
        Finding(promise="a worker was killed in the middle of a reply", kept=killed and broke_ms is not None, seen="kill -9"),
        Finding(
            promise="the caller heard the agent again within two seconds", kept=again_ms is not None and again_ms <= WITHIN_MS,
            seen="never" if again_ms is None else f"after {again_ms} ms, of which the carrier took 500",
        ),
        Finding(
            promise="another worker went on from the log alone", kept=len(resumed) == 1, seen=f"{kinds.count('call-resumed')} take-over"
        ),
        Finding(
            promise="nothing that was acknowledged was asked or said twice",
            kept=turns == sorted(set(turns)) and kinds.count("disclosure-spoken") == 1 and kinds.count("call-ended") == 1,
            seen=f"{kinds.count('disclosure-spoken')} disclosure, {len(turns)} turn, {kinds.count('call-ended')} end",
        ),
    ]  # fmt: skip


def _sounds_after(heard: bytes, from_ms: int) -> int | None:
    """How long the line was silent from a moment on."""
    step = _STEP_MS * BYTES_PER_MS
    samples = decode(heard[from_ms * BYTES_PER_MS :]).astype(np.float64)
    steps = len(samples) // step
    loud = np.flatnonzero(np.sqrt((samples[: steps * step].reshape(steps, step) ** 2).mean(axis=1)) > _LOUD)
    return int(loud[0]) * _STEP_MS if len(loud) else None
