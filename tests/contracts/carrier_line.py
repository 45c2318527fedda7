"""What every carrier's media line promises to a call; an adapter to another carrier brings a rig of its own and passes the same tests.

A rig is our end of the line as the worker serves it, and the carrier's end with a caller, connected over real sockets.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from events.calls.ending import EndedBy
from realtime.audio import FRAME_BYTES, FRAME_MS, SILENCE
from realtime.loop.conductor import Line

SILENT: bytes = bytes([SILENCE]) * FRAME_BYTES


def sound(frames: int, first: int = 1) -> bytes:
    """Frames that are all different, so that none can be lost, doubled or changed unseen."""
    return b"".join(bytes([number % 200 + 1]) * FRAME_BYTES for number in range(first, first + frames))


@dataclass(slots=True)
class CallDouble:
    """What a call is told by its line, in order."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    marks: list[tuple[str, int]] = field(default_factory=list)
    digits: list[str] = field(default_factory=list)
    ends: list[tuple[str, EndedBy, bool]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    stream: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(id="call_1"))

    def frame(self, at_ms: int, mulaw: bytes) -> None:
        self.frames.append((at_ms, bytes(mulaw)))
        self.news.set()

    def mark_returned(self, name: str) -> None:
        # With how much the caller had said by then: the line's own clock.
        self.marks.append((name, len(self.frames)))
        self.news.set()

    def digit(self, key: str) -> None:
        self.digits.append(key)
        self.news.set()

    def media_ended(self, reason: str, ended_by: EndedBy, *, billable: bool) -> None:
        self.ends.append((reason, ended_by, billable))
        self.news.set()

    @property
    def said(self) -> bytes:
        return b"".join(mulaw for _, mulaw in self.frames)

    async def has(self, what: Callable[[], object]) -> None:
        async with asyncio.timeout(120):
            while not what():
                self.news.clear()
                await self.news.wait()


class Rig(ABC):
    """A call under way. `follows`: what the carrier is told to say when it asks what follows, once for each closing."""

    call: CallDouble
    line: Line
    follows: list[str]

    @property
    @abstractmethod
    def heard(self) -> bytes:
        """What has sounded at the caller's ear, tick by tick, silence where nothing sounded."""

    @abstractmethod
    def says(self, mulaw: bytes) -> None:
        """The caller's next frames."""

    @abstractmethod
    def presses(self, key: str) -> None: ...

    @abstractmethod
    async def hangs_up(self) -> None:
        """The caller puts the phone down."""

    @abstractmethod
    async def is_lost(self) -> None:
        """The carrier's end goes away without a word."""

    async def sounds(self, frames: int) -> bytes:
        """Wait for so many ticks; what sounded since the rig began."""
        already = len(self.call.frames)
        await self.call.has(lambda: len(self.call.frames) >= already + frames)
        return self.heard


class LineContract:
    """The promises. A subclass gives the fixture `rig`."""

    async def test_brings_the_callers_audio_in_order_byte_for_byte_with_the_carriers_stamps(self, rig: Rig) -> None:
        rig.says(sound(20))
        await rig.call.has(lambda: sound(20) in rig.call.said)
        stamps = [at_ms for at_ms, _ in rig.call.frames]
        assert stamps == [FRAME_MS * number for number in range(len(stamps))]

    async def test_plays_what_is_sent_byte_for_byte_however_it_was_cut(self, rig: Rig) -> None:
        whole = sound(15)
        rig.line.play(whole[:100])
        rig.line.play(whole[100:2300])
        rig.line.play(whole[2300:])
        assert whole in await rig.sounds(20)

    async def test_plays_in_real_time_whatever_is_sent_ahead(self, rig: Rig) -> None:
        rig.line.play(sound(100))
        heard = (await rig.sounds(15)).replace(SILENT, b"")
        assert 10 * FRAME_BYTES <= len(heard) <= 20 * FRAME_BYTES

    async def test_gives_a_mark_back_when_all_before_it_has_played_and_no_earlier(self, rig: Rig) -> None:
        before = len(rig.call.frames)
        rig.line.play(sound(12))
        rig.line.mark("whole")
        await rig.call.has(lambda: rig.call.marks)
        name, at_frame = rig.call.marks[0]
        assert name == "whole"
        assert at_frame - before >= 11

    async def test_gives_a_mark_back_at_once_when_nothing_is_to_be_played(self, rig: Rig) -> None:
        rig.line.mark("nothing")
        before = len(rig.call.frames)
        await rig.call.has(lambda: rig.call.marks)
        assert len(rig.call.frames) - before <= 4

    async def test_plays_nothing_of_what_was_cleared_and_gives_all_its_marks_back(self, rig: Rig) -> None:
        rig.line.play(sound(100))
        rig.line.mark("one")
        rig.line.play(sound(100))
        rig.line.mark("two")
        await rig.sounds(5)
        rig.line.clear()
        await rig.call.has(lambda: len(rig.call.marks) == 2)
        assert [name for name, _ in rig.call.marks] == ["one", "two"]
        played = len(rig.heard.replace(SILENT, b""))
        assert played < 20 * FRAME_BYTES
        assert len((await rig.sounds(10)).replace(SILENT, b"")) == played

    async def test_plays_after_a_clear_only_what_came_after_it(self, rig: Rig) -> None:
        rig.line.play(sound(100, first=1))
        await rig.sounds(3)
        rig.line.clear()
        rig.line.play(sound(5, first=150))
        heard = (await rig.sounds(15)).replace(SILENT, b"")
        assert heard.endswith(sound(5, first=150))

    async def test_tells_which_keys_were_pressed(self, rig: Rig) -> None:
        for key in "1#":
            rig.presses(key)
        await rig.call.has(lambda: rig.call.digits == ["1", "#"])

    async def test_tells_once_that_the_caller_hung_up_which_is_paid_for(self, rig: Rig) -> None:
        await rig.sounds(2)
        await rig.hangs_up()
        await rig.call.has(lambda: rig.call.ends)
        assert [(ended_by, billable) for _, ended_by, billable in rig.call.ends] == [(EndedBy.CALLER, True)]

    async def test_tells_once_that_the_line_was_lost_which_nobody_pays_for(self, rig: Rig) -> None:
        await rig.sounds(2)
        await rig.is_lost()
        await rig.call.has(lambda: rig.call.ends)
        assert [(ended_by, billable) for _, ended_by, billable in rig.call.ends] == [(EndedBy.CARRIER, False)]

    async def test_does_nothing_more_once_it_was_closed(self, rig: Rig) -> None:
        await rig.sounds(2)
        rig.line.close(words="Goodbye.")
        rig.line.play(sound(5))
        rig.line.mark("late")
        rig.line.clear()
        rig.line.close(words="Again.")
        await rig.call.has(lambda: rig.call.ends)
        assert rig.follows == ["Goodbye."]
        assert rig.call.marks == []
        assert rig.heard.replace(SILENT, b"") == b""
