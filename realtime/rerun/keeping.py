"""Keeps what enters a call's machine, a stretch every few seconds: a crash loses what came after the last of them, and no more."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from events.calls.signals import SignalsKept
from events.sealing import KeyErased, KeyRing
from realtime.hearing import vad
from realtime.loop.observing import Observing, Watched
from realtime.machine.state import CallState
from realtime.rerun import hearing, stretches, words
from realtime.rerun.plain import packer
from realtime.rerun.ports import SignalStore

log = structlog.get_logger()

# A store that does not answer for this many signals has lost the rest of the run: memory is the calls'.
_MOST_WAITING = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingPorts:
    """`program` is the digest of the machine's source. A stretch is kept each `every_seconds`, and told to the log each `told_every`."""

    store: SignalStore
    keyring: KeyRing
    program: str
    every_seconds: float = 12.0
    told_every: int = 3


class Keeper:
    """An Observer. Looking on costs an append; a stretch is packed in about half a millisecond, which no caller hears."""

    def __init__(self, watched: Watched, ports: KeepingPorts) -> None:
        self._watched, self._ports = watched, ports
        self._subject = watched.state.briefing.caller.subject
        self._notes = stretches.Notes()
        self._taken: stretches.Notes | None = None
        # The call's loop is between two of its steps whenever they are emptied.
        self.given = self._notes.signals.append
        self.did = self._notes.effects.append
        self._hear = self._notes.heard.audio.append
        self._place = stretches.Place()
        self._told: SignalsKept | None = None
        self._kept: SignalsKept | None = None
        self._lost = False
        self._heard_until_ms = 0

    def windows(self, origin_ms: int, windows: Sequence[tuple[int, float]], changes: Sequence[vad.SpeechChange]) -> None:
        self._notes.heard.windows.append((origin_ms, windows, changes))

    def heard(self, end_ms: int, mulaw: bytes) -> None:
        self._hear(mulaw)
        self._heard_until_ms = end_ms

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._ports.every_seconds)
            if await self.keep() and self._place.number % self._ports.told_every == 0:
                self._tell()

    async def close(self) -> None:
        # What a cancelled writing had taken comes first, then what came since.
        while not self._lost and (self._taken or self._notes.signals):
            if not await self.keep():
                break
        if self._taken or self._notes.signals:
            self._lose("the last signals of a call were not kept")
        self._tell()

    async def keep(self) -> bool:
        """Keep what has come since the last time; what could not be kept is tried again, before all that follows it."""
        if self._lost or not (self._taken or self._notes.signals):
            return False
        notes = self._taken = self._taken or self._take()
        try:
            content, name, to_ms = self._packed(notes, self._place)
            await self._ports.store.put(name, content)
        except OSError as cause:
            log.warning("signals wait: they cannot be kept", call_id=self._watched.stream.id, cause=str(cause))
            if len(self._notes.signals) > _MOST_WAITING:
                self._lose("the signals of a call are kept no more")
            return False
        except (KeyErased, TypeError, ValueError, OverflowError):
            # A number beyond 64 bits in a tool's answer, or a person who is forgotten: the talk does not end with it.
            log.exception("signals cannot be packed", call_id=self._watched.stream.id)
            self._lose("the signals of a call are kept no more")
            return False
        self._taken = None
        count, digest = self._place.signals + len(notes.signals), stretches.digest_of(content)
        self._place = stretches.Place(number=self._place.number + 1, signals=count, from_ms=to_ms, before=digest)
        self._kept = SignalsKept(
            run=self._watched.run, name=name, digest=digest.hex(), objects=self._place.number, signals=count, from_ms=0, to_ms=to_ms,
            program=self._ports.program,
        )  # fmt: skip
        return True

    def _take(self) -> stretches.Notes:
        notes, heard = self._notes, self._notes.heard
        taken = stretches.Notes(
            signals=notes.signals.copy(), effects=notes.effects.copy(),
            heard=hearing.Heard(windows=heard.windows.copy(), audio=heard.audio.copy(), ends_ms=self._heard_until_ms),
        )  # fmt: skip
        for each in (notes.signals, notes.effects, heard.windows, heard.audio):
            each.clear()
        return taken

    def _packed(self, notes: stretches.Notes, place: stretches.Place) -> tuple[bytes, str, int]:
        opening = None if place.number else opening_of(self._watched, self._ports.program)
        packed, to_ms = stretches.pack(notes, place, opening)
        name = f"{self._watched.stream.id}/{self._watched.run}-{place.number:06d}"
        return stretches.sealed(packed, self._subject, self._ports.keyring), name, to_ms

    def _tell(self) -> None:
        if self._kept is not None and self._kept is not self._told:
            self._told = self._kept
            self._watched.witness(self._kept)

    def _lose(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self._watched.counters["signals-lost"] += 1
            log.error(why, call_id=self._watched.stream.id)


def opening_of(watched: Watched, program: str) -> Mapping[str, Any]:
    """All that the machine knew before its first signal, and how this program spells what follows."""
    state, ours = watched.state, words.OURS
    fresh = state == CallState(briefing=state.briefing)
    return {
        "call": str(watched.stream), "run": watched.run, "program": program, "agent_version_hash": watched.agent_version_hash,
        "flags": dict(watched.flags), "signals": ours.signals, "effects": ours.effects, "forms": ours.forms,
        "briefing": words.briefing_row(state.briefing), "state": None if fresh else words.state_row(state),
        "hearing": packer(vad.Thresholds)(watched.hearing),
    }  # fmt: skip


def keeping(ports: KeepingPorts) -> Observing:
    """Has every call of a process kept."""
    return lambda watched: Keeper(watched, ports)
