"""Spoken calls for tests: placed over the carrier's protocol, told from the tables, with what really sounded on the line."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from events.admission import UNCLAIMED
from events.headers import Kind
from events.positions import Position
from events.recorded import Recorded
from events.records import recorded
from events.registry import Fact
from events.streams import topic_of
from infra.adapters.kafka.reader import KafkaLogReader
from infra.adapters.signal_folder import SignalFolder
from infra.apps.calling import tell
from infra.apps.demo_business.opening import Business, open_business
from infra.apps.demo_play import reach_of
from infra.apps.installation import open_installation
from infra.apps.platform import Platform, running_platform
from infra.apps.rerun import run_call
from infra.apps.ringing import CallersRecord, Line, ring
from infra.apps.story import CallStory, Happening
from infra.local.stack import Addresses
from infra.settings import Settings
from realtime.audio import decode

_STEP_MS = 10
_PAUSE_MS = 400
_LOUD = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One call: its story, and what the caller said and heard as stretches of sound (from, to) in ms of the stream."""

    story: CallStory
    said: Sequence[tuple[int, int]]
    heard: Sequence[tuple[int, int]]

    def all(self, kind: str) -> list[Happening]:
        return [each for each in self.story.happenings if each.entry.kind == kind]

    def answers(self) -> str:
        """All that the caller heard, in small letters."""
        return " ".join((each.heard or "").lower() for each in self.all("agent-turn"))


@dataclass(frozen=True, slots=True)
class House:
    """A platform with the demo business open on it."""

    platform: Platform
    business: Business
    folder: Path
    state_dir: Path

    async def talk(self, name: str, *words: str | Line, caller: str) -> Told:
        """One call with these words, each when it is the caller's turn."""
        return await self.told(name, await self.ring(name, *words, caller=caller))

    async def ring(self, name: str, *words: str | Line, caller: str) -> CallersRecord:
        """One call, to its end on the line."""
        lines = [each if isinstance(each, Line) else Line(text=each, after_silence_ms=1600) for each in words]
        there, number = self.platform, self.business.number
        return await ring(
            there.installation, there.url, number=number, caller=caller, lines=lines, patience_ms=7000, ear=self.folder / name
        )

    async def told(self, name: str, record: CallersRecord) -> Told:
        """The call's story, and what sounded. Run again from its signals it does what it did."""
        ear, story = self.folder / name, await tell(reach_of(self.platform), self.business, record)
        journal, keyring = self.platform.read_side.journal, self.platform.installation.key_ring
        again = await run_call(SignalFolder(self.state_dir / "signals"), journal, keyring, story.call)
        assert all(each.well and each.proven for each in again), again
        return Told(story=story, said=_heard_in(ear / "said.ulaw"), heard=_heard_in(ear / "heard.ulaw"))

    async def talk_all(self, *lines: Mapping[str, Sequence[str | Line]]) -> dict[str, Told]:
        """Several lines at once, each with one call after the other; each call, by its name, from a number of its own."""
        told: dict[str, Told] = {}

        async def line(first: int, calls: Mapping[str, Sequence[str | Line]]) -> None:
            for at, (name, words) in enumerate(calls.items()):
                told[name] = await self.talk(name, *words, caller=f"+1202555{first + at}")

        async with asyncio.TaskGroup() as tasks:
            for number, calls in enumerate(lines):
                tasks.create_task(line(2000 + 100 * number, calls), name=f"line {number}")
        return told


@asynccontextmanager
async def opened_house(settings: Settings, stack: Addresses, folder: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as clean_up:
        installation = clean_up.enter_context(open_installation(settings))
        platform = await clean_up.enter_async_context(running_platform(settings, stack, installation))
        business = await open_business(platform.url, installation.operator_key)
        assert await platform.read_side.directory.wait_for([Position.parse(each) for each in business.positions], 120)
        yield House(platform, business, folder, settings.state_dir)


async def on_the_log(reader: KafkaLogReader, room: str, wanted: Callable[[Recorded[Fact]], bool]) -> Recorded[Fact]:
    """The first fact of a room that is as wanted, as soon as the log has it."""
    topic = topic_of(room)
    places = dict.fromkeys(await reader.end_offsets([topic]), (0, UNCLAIMED))
    async with aclosing(reader.batches([topic], places)) as batches:
        async for batch in batches:
            for raw in batch.records:
                if raw.header is not None and raw.header.kind is Kind.EVENT and wanted(found := recorded(raw, reader.codec)):
                    return found
    raise AssertionError("a log that grows has no end")


def _heard_in(mulaw: Path) -> list[tuple[int, int]]:
    return stretches(decode(mulaw.read_bytes()))


def stretches(samples: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Where there is sound, as people count it: short pauses belong to it."""
    step = _STEP_MS * 8
    steps = len(samples) // step
    powers = (samples[: steps * step].astype(np.float64).reshape(steps, step) ** 2).mean(axis=1)
    found: list[tuple[int, int]] = []
    for at in (int(each) * _STEP_MS for each in np.flatnonzero(np.sqrt(powers) > _LOUD)):
        if found and at - found[-1][1] <= _PAUSE_MS:
            found[-1] = (found[-1][0], at + _STEP_MS)
        else:
            found.append((at, at + _STEP_MS))
    return found


def sides(wav: bytes) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Caller and agent of a recording."""
    with wave.open(io.BytesIO(wav)) as file:
        both = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
    return both[:, 0], both[:, 1]
