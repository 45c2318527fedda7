"""A call in virtual time of which everything is kept, as a worker keeps it."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from commands.calls.orders import Witnessed
from events.calls.signals import SignalsKept
from events.sealing import KeyRing
from events.streams import StreamId
from realtime.hearing import vad
from realtime.loop.observing import Watched
from realtime.machine import effects as do
from realtime.machine.signals import Signal
from realtime.rerun.keeping import Keeper, KeepingPorts
from realtime.rerun.runs import Kept, load
from tests.realtime.scene import BRIEFING, Scene
from tests.realtime.world import MemorySignals, keyring

CALL = StreamId("AYB-1", "calls", BRIEFING.call_id)


def filmed(keys: KeyRing, **changes: Any) -> Scene:
    """A scene whose boxes are real."""
    return Scene(briefing=replace(BRIEFING, seal=lambda text: keys.seal(BRIEFING.caller.subject, text), **changes))


@dataclass(slots=True)
class Film:
    """Keeps a scene; `cut` ends a stretch. `told` is what the log hears of it."""

    scene: Scene
    keys: KeyRing = field(default_factory=keyring)
    store: MemorySignals = field(default_factory=MemorySignals)
    run: str = "MZ1"
    stream: StreamId = CALL
    told: list[Witnessed] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    signals: list[Signal] = field(default_factory=list)
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        watched = Watched(
            stream=self.stream, run=self.run, state=self.scene.state, hearing=vad.Thresholds(), agent_version_hash="hash", flags={},
            rang_at=None, witness=self.told.append, counters=self.counters,
        )  # fmt: skip
        ports = KeepingPorts(store=self.store, keyring=self.keys, program="this one", every_seconds=0.001, told_every=2)
        self.keeper = Keeper(watched, ports)
        self.scene.watchers.append(self.see)

    def see(self, signal: Signal, effects: tuple[do.Effect, ...]) -> None:
        self.signals.append(signal)
        self.keeper.given(signal)
        self.keeper.did(effects)

    async def cut(self) -> None:
        """The stretch so far is kept."""
        already = len(self.store.objects)
        running = asyncio.create_task(self.keeper.run())
        async with asyncio.timeout(120):
            while len(self.store.objects) == already:
                await asyncio.sleep(0)
        running.cancel()

    async def kept(self) -> Kept:
        (run,) = await load(self.store, self.keys, CALL.id, self.proofs)
        return run

    @property
    def proofs(self) -> list[SignalsKept]:
        return [fact for fact in self.told if isinstance(fact, SignalsKept)]
