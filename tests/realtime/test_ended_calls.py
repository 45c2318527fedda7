"""What a worker holds of calls that have ended: nothing, whether or not a collector of garbage comes by. In virtual time."""

import asyncio
import gc
import json
import random
import re
import selectors
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from realtime.audio import BYTES_PER_MS, FRAME_BYTES, silence
from realtime.carrier.media_socket import MediaSocket
from realtime.hearing.contours import Contour
from realtime.hearing.ears import Ears
from realtime.hearing.echo import Echo
from realtime.hearing.unsettled import Unsettled
from realtime.loop.conductor import Conductor
from realtime.loop.errands import Errands
from realtime.loop.facts_queue import FactsQueue
from realtime.loop.in_hand import CallInHand
from realtime.loop.observing import Observer, Watched
from realtime.machine.briefing import Briefing
from realtime.machine.state import CallState
from realtime.ports import ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage
from realtime.recording.recorder import Recorder
from realtime.recording.shelving import Shelving
from realtime.rerun.keeping import Keeper
from realtime.speaking.mouth import Mouth
from realtime.speaking.playing import Playing
from tests.realtime.office import NUMBER, Desk, Office, open_office
from tests.realtime.strange_messages import Peer
from tests.realtime.world import spoken

CALLS = 12
DESK = Desk(configuration={"greeting": "Welcome.", "disclosure": "You speak with an AI assistant."})
PARTS = (
    Conductor, CallInHand, CallState, Briefing, Ears, Unsettled, Contour, Echo, Mouth, Playing, Recorder, Shelving, Keeper, FactsQueue,
    Errands, MediaSocket, ModelRequest,
)  # fmt: skip
LINES = (silence(1_000), spoken("yes please"), silence(1_200), spoken("when are you open"), silence(1_500))
# What the worker remembers of a call on purpose, by its id, and what tests add to that.
FEW = 6


class _Hurried(selectors.DefaultSelector):
    """Where a loop would wait for its next timer, its clock is moved on to it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is not None:
            self.now += max(0.0, timeout)
        return found if found or timeout is not None else super().select(None)


class _HurriedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._hurried = _Hurried()
        super().__init__(self._hurried)

    def time(self) -> float:
        return self._hurried.now


def hurried(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=_HurriedLoop) as runner:
        runner.run(work())


@dataclass(slots=True)
class Wire:
    """A Transport whose other end plays what comes, and says of each mark when it was reached."""

    told: Callable[[str], None] | None = None
    plays_until: float = 0.0
    waiting: list[asyncio.TimerHandle] = field(default_factory=list)

    def send(self, text: bytes) -> None:
        loop, message = asyncio.get_running_loop(), json.loads(text)
        match message["event"]:
            case "media":
                length = len(b64decode(message["media"]["payload"]))
                self.plays_until = max(self.plays_until, loop.time()) + length / BYTES_PER_MS / 1000
            case "mark":
                self.waiting.append(loop.call_at(max(self.plays_until, loop.time()), self._reached, message["mark"]["name"]))
            case "clear":
                self.plays_until = 0.0

    def close(self, code: int, reason: str) -> None:
        self.gone()

    def gone(self) -> None:
        self.told = None
        for each in self.waiting:
            each.cancel()

    def _reached(self, name: str) -> None:
        if self.told is not None:
            self.told(name)


async def talk(office: Office, number: int, lines: Sequence[bytes] = LINES) -> None:
    """A caller agrees, asks, is answered and hangs up."""
    document = await office.worker.ring(f"CA{number:032x}", f"+1555{number:07}", NUMBER)
    found = re.search(r'value="([^"]+)"', document)
    assert found is not None
    other, wire = Peer(random.Random(number), f"CA{number:032x}", f"MZ{number:032x}", found[1], honest=True), Wire()
    socket = office.worker.accept(wire)
    for message in other.opening():
        socket.text(str(message).encode())

    def tell(event: str, **more: Any) -> None:
        socket.text(json.dumps({"event": event, "sequenceNumber": "2", "streamSid": other.stream_sid, **more}).encode())

    wire.told = lambda name: tell("mark", mark={"name": name})
    sound = b"".join(lines)
    for at in range(0, len(sound), FRAME_BYTES):
        payload = b64encode(sound[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\xff")).decode()
        tell("media", media={"track": "inbound", "chunk": "1", "timestamp": str(at // BYTES_PER_MS), "payload": payload})
        await asyncio.sleep(FRAME_BYTES / BYTES_PER_MS / 1000)
    tell("stop", stop={"accountSid": "AC", "callSid": other.call_sid})
    wire.gone()
    socket.disconnected()


def thoughts(_: ModelRequest) -> Sequence[ModelEvent | float]:
    usage = TokenUsage(input_tokens=50, output_tokens=10)
    return [0.2, TextDelta(text="We are open from nine to five, on every weekday. "), ModelStopped(reason="end_turn", usage=usage)]


def forget(office: Office) -> None:
    """What the doubles of tests remember of calls, and the product's adapters do not."""
    office.log.forget()
    for remembered in (office.ears.streams, office.mind.requests, office.voice.spoken, office.voice.voices, office.proofs):
        remembered.clear()
    for stored in (office.shelf.objects, office.signals.objects):
        stored.clear()


def parts() -> Counter[str]:
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in PARTS)


async def left_by_calls(office: Office, count: int = CALLS) -> tuple[Counter[str], float]:
    """Parts of calls that can still be found after so many, and objects of any kind for each call. Nothing is collected meanwhile."""
    await talk(office, 0)
    await office.worker.idle()
    forget(office)
    gc.collect()
    gc.disable()
    try:
        before, objects = parts(), len(gc.get_objects())
        async with asyncio.TaskGroup() as tasks:
            for number in range(1, count + 1):
                tasks.create_task(talk(office, number), name=f"caller {number}")
                await asyncio.sleep(1.1)
        await office.worker.idle()
        # Longer than anything of the worker's waits for after a call.
        await asyncio.sleep(70)
        assert office.worker.counters["calls"] == count + 1
        assert len(office.mind.requests) >= count
        forget(office)
        return parts() - before, (len(gc.get_objects()) - objects) / count
    finally:
        gc.enable()


class Hoard:
    """An observer that keeps what it saw of each call."""

    def __init__(self) -> None:
        self.kept: list[Watched] = []

    def __call__(self, watched: Watched) -> Observer:
        self.kept.append(watched)
        return Idle()


class Idle:
    """An Observer that looks away."""

    def given(self, *_: object) -> None: ...
    def did(self, *_: object) -> None: ...
    def heard(self, *_: object) -> None: ...
    def windows(self, *_: object) -> None: ...
    async def run(self) -> None: ...
    async def close(self) -> None: ...


class TestEndedCalls:
    def test_leave_none_of_their_parts_and_hardly_an_object(self) -> None:
        async def work() -> None:
            async with open_office(thoughts, desk=DESK) as office:
                left, objects = await left_by_calls(office)
                assert left == Counter()
                assert objects < FEW

        hurried(work)

    def test_would_be_found_if_somebody_held_them(self) -> None:
        async def work() -> None:
            hoard = Hoard()
            async with open_office(thoughts, desk=DESK, observing=(hoard,)) as office:
                left, objects = await left_by_calls(office, 4)
                assert left["CallState"] >= 4
                assert objects > FEW
                hoard.kept.clear()

        hurried(work)
