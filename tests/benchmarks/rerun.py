"""What it costs to keep a call's signals, and how fast kept calls are run again: `make bench NAME=rerun`.

The calls last a minute each, with the load of the call's bench: 7.5 turns, replies of 5 s that come in pieces of 100 ms, an interim each
250 ms of speech, a token a word, and an interruption in every second turn. They are made in virtual time, each by a seed of its own.
"""

import asyncio
import gc
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from events.identifiers import derived_id
from events.sealing import KeyRing
from events.streams import StreamId
from infra.adapters.signal_folder import SignalFolder
from infra.apps.signals import program
from realtime.hearing import vad
from realtime.loop.observing import Watched
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.signals import Signal
from realtime.rerun.keeping import Keeper, KeepingPorts
from realtime.rerun.rerunning import run_again
from realtime.rerun.runs import load, understood
from tests.benchmarks.figures import Figure, show
from tests.realtime.scene import BRIEFING, Scene
from tests.realtime.world import keyring

_CALLS, _RERUN = 40, 1000
_MINUTE_MS = 60_000
_CYCLE_MS = 8000
_PIECE_SAMPLES, _PIECE_MS = 800, 4
_SAMPLES_PER_CHARACTER = 500
_WORDS = ("friday", "morning", "at", "nine", "is", "free", "and", "we", "would", "be", "glad", "to", "see", "you", "with", "your", "letter")


@dataclass(slots=True)
class Minute(Scene):
    """A scene whose voice delivers in pieces, and whose recogniser tells what it has so far."""

    draw: random.Random = field(default_factory=random.Random)
    seen: list[tuple[Signal, tuple[do.Effect, ...]]] = field(default_factory=list)

    def _deliver(self, epoch: int, utterance: int, text: str) -> None:
        pieces = max(1, len(text) * _SAMPLES_PER_CHARACTER // _PIECE_SAMPLES)
        for piece in range(pieces):
            self._later(self.at_ms + piece * _PIECE_MS, lambda: self._piece(epoch))
        self._later(self.at_ms + pieces * _PIECE_MS, lambda: self._whole(epoch, utterance))

    def _piece(self, epoch: int) -> None:
        if epoch == self._voice_epoch:
            self.tell(signals.VoiceArrived, samples=_PIECE_SAMPLES)

    def _whole(self, epoch: int, utterance: int) -> None:
        if epoch == self._voice_epoch:
            self.tell(signals.VoiceDelivered, utterance=utterance)

    def speak(self, words: int) -> None:
        """The caller says so many words, 300 ms each."""
        text = " ".join(self.draw.choices(_WORDS, k=words))
        began = self.at_ms
        self.starts_speaking()
        for _ in range(words * 300 // 250):
            self.wait(250)
            self.recognised(text[: (self.at_ms - began) // 20], started_ms=began, ended_ms=self.at_ms, is_final=False, from_finalize=False)
        self.falls_silent(f"{text} please", from_finalize=self.draw.random() < 0.8)

    def answer(self) -> None:
        """The model says 5 s, a word at a time."""
        if self.state.reply is not None and self.state.reply.asked:
            for _ in range(14):
                self.wait(25)
                self.tell(signals.ModelSaid, asked=self.asked, text=f"{self.draw.choice(_WORDS)} ")
            self.model_answers(". ")


def minute(seed: int, keys: KeyRing) -> Minute:
    """One call, to its end."""
    call_id = f"call_{derived_id(str(seed)).hex()}"
    briefing = replace(BRIEFING, call_id=call_id, seal=lambda text: keys.seal(BRIEFING.caller.subject, text))
    scene = Minute(briefing=briefing, draw=random.Random(seed))
    scene.watchers.append(lambda signal, effects: scene.seen.append((signal, effects)))
    scene.greeted().says("yes please").wait(10).hears_all()
    turn = 0
    while scene.at_ms < _MINUTE_MS - _CYCLE_MS // 2:
        began, turn = scene.at_ms, turn + 1
        scene.speak(5)
        scene.answer()
        if turn % 2:
            scene.wait(1500)
        else:
            scene.wait(max(0, began + _CYCLE_MS - scene.at_ms))
    scene.hangs_up()
    return scene


def keeper_of(scene: Minute, ports: KeepingPorts) -> Keeper:
    stream = StreamId("AYB-1", "calls", scene.briefing.call_id)
    briefing = scene.briefing
    watched = Watched(
        stream=stream, run="MZ1", state=replace(scene.state.__class__(briefing=briefing)), hearing=vad.Thresholds(),
        agent_version_hash="hash", flags={}, rang_at=None, witness=lambda _fact: None, counters=Counter(),
    )  # fmt: skip
    return Keeper(watched, ports)


def heard_windows(scene: Minute) -> tuple[list[tuple[int, float]], list[list[vad.SpeechChange]]]:
    """What a detector says of a caller who speaks 1.5 s in every 8, and what follows from each window."""
    windows = [
        (end, round(scene.draw.uniform(0.7, 1.0) if end % _CYCLE_MS < 1500 else scene.draw.random() ** 4 * 0.3, 6))
        for end in range(32, scene.at_ms + _CYCLE_MS, 32)
    ]
    speech, changes = vad.SILENT, []
    for window in windows:
        speech, changed = vad.steps(speech, vad.Thresholds(), (window,))
        changes.append(changed)
    return windows, changes


async def keep(scene: Minute, keeper: Keeper, every_ms: int) -> float:
    """CPU-seconds that keeping takes, for all of the call: looking on, packing, sealing, writing."""
    frames = [bytes([scene.draw.randrange(256)]) * 160 for _ in range(50)]
    windows, changes = heard_windows(scene)
    gc.collect()
    began = time.process_time()
    due, heard_ms, window = every_ms, 0, 0
    for signal, effects in scene.seen:
        while heard_ms < signal.at_ms:
            keeper.heard(heard_ms + 20, frames[heard_ms // 20 % 50])
            heard_ms += 20
            if windows[window][0] <= heard_ms:
                keeper.windows(0, (windows[window],), changes[window])
                window += 1
        if signal.at_ms >= due:
            due += every_ms
            await keeper.keep()
        keeper.given(signal)
        keeper.did(effects)
    await keeper.close()
    return time.process_time() - began


async def main() -> None:
    # As the product's programs have it.
    gc.set_threshold(100_000, 50, 1_000)
    keys = keyring()
    with tempfile.TemporaryDirectory() as folder:
        store = SignalFolder(Path(folder))
        ports = KeepingPorts(store=store, keyring=keys, program=program())
        scenes = [minute(seed, keys) for seed in range(_CALLS)]
        minutes = sum(scene.at_ms for scene in scenes) / _MINUTE_MS
        steps = sum(len(scene.seen) for scene in scenes) / minutes
        every_ms = int(1000 * ports.every_seconds)
        spent = sum([await keep(scene, keeper_of(scene, ports), every_ms) for scene in scenes]) / minutes
        kept_bytes = (
            sum(map(len, [await store.get(name) or b"" for scene in scenes for name in await store.names(scene.briefing.call_id)]))
            / minutes
        )
        gc.collect()
        gc.freeze()
        began, busy, again = time.perf_counter(), time.process_time(), 0.0
        for number in range(_RERUN):
            scene = scenes[number % _CALLS]
            for kept in await load(store, keys, scene.briefing.call_id, ()):
                outcome = run_again(kept, understood(kept, keys))
                if outcome.difference is not None:
                    raise SystemExit(f"{scene.briefing.call_id} does not do what it did: {outcome.difference}")
            again += scene.at_ms / _MINUTE_MS
        busy, took = time.process_time() - busy, time.perf_counter() - began
    show(
        "rerun", f"{_RERUN} calls of a minute, {steps:.0f} signals each", [
            Figure(figure="keeping_cpu_ms_per_call_minute", value=round(1000 * spent, 2), unit="ms", better="lower", target=10),
            Figure(figure="kept_bytes_per_call_minute", value=round(kept_bytes), unit="bytes", better="lower"),
            Figure(figure="seconds_for_1000_call_minutes", value=round(1000 * took / again, 1), unit="s", better="lower", target=60),
            Figure(figure="cpu_seconds_for_1000_call_minutes", value=round(1000 * busy / again, 1), unit="s", better="lower", target=60),
        ], signals_per_call_minute=round(steps),
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
