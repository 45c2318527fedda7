"""The runs of a call, as they lie in the store: each the signals of one media stream, whole or up to where they break off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.calls.signals import SignalsKept
from events.sealing import BrokenSeal, KeyRing, Sealed
from realtime.hearing import vad
from realtime.machine.signals import Signal
from realtime.machine.state import CallState
from realtime.rerun import words
from realtime.rerun.ports import SignalStore
from realtime.rerun.stretches import BrokenStretch, Stretch, digest_of, subject_of, unsealed


class RunBroken(Exception):
    """What was kept of a run is not what the log, or the run itself, says of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A run's stretches in their order, each of which names the one before it. `proven`: how many of them the log proves."""

    name: str
    subject: str
    stretches: Sequence[Stretch]
    proven: int

    @property
    def opening(self) -> Mapping[str, Any]:
        found = self.stretches[0].opening
        if found is None:
            raise RunBroken(f"{self.name}: it has no beginning")
        return found

    @property
    def program(self) -> str:
        return str(self.opening["program"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as this program understands it."""

    start: CallState
    signals: Sequence[Signal]
    hearing: vad.Thresholds
    listener: words.Listener


async def load(store: SignalStore, keyring: KeyRing, call_id: str, told: Sequence[SignalsKept]) -> list[Kept]:
    """All runs of a call that are kept; `told` is what its stream on the log says of them.

    Raises RunBroken, OSError, and KeyErased where the caller is forgotten.
    """
    names: dict[str, list[str]] = {}
    for name in await store.names(call_id):
        names.setdefault(name.rpartition("/")[2].rpartition("-")[0], []).append(name)
    proofs = {fact.run: fact for fact in told}
    if missing := proofs.keys() - names.keys():
        raise RunBroken(f"{min(missing)}: the log says that it was kept, and it is not there")
    loaded = [(name, await _contents(store, found)) for name, found in names.items()]
    # A run is begun by its call's start, or by the end of the one before it: its order is that of the log.
    order = {run: place for place, run in enumerate(proofs)}
    return [kept_run(name, contents, keyring, proofs.get(name)) for name, contents in sorted(loaded, key=lambda run: order.get(run[0], 99))]


async def _contents(store: SignalStore, names: Sequence[str]) -> list[bytes]:
    found = [await store.get(name) for name in names]
    return [content for content in found if content is not None]


def kept_run(name: str, contents: Sequence[bytes], keyring: KeyRing, proof: SignalsKept | None) -> Kept:
    """Its objects, opened, and held to what proves them. Raises RunBroken or KeyErased."""
    digests = [digest_of(content) for content in contents]
    if proof is not None:
        if len(contents) < proof.objects:
            raise RunBroken(f"{name}: the log proves {proof.objects} stretches of it, and {len(contents)} are there")
        if digests[proof.objects - 1].hex() != proof.digest:
            raise RunBroken(f"{name}: stretch {proof.objects - 1} is not the one that the log proves")
    found: list[Stretch] = []
    for number, content in enumerate(contents):
        try:
            stretch = unsealed(content, keyring)
        except (BrokenStretch, BrokenSeal) as cause:
            raise RunBroken(f"{name}: stretch {number} was altered: {cause}") from cause
        if stretch.place.number != number or stretch.place.before != (digests[number - 1] if number else b""):
            raise RunBroken(f"{name}: stretch {number} does not follow the one before it")
        found.append(stretch)
    return Kept(name=name, subject=subject_of(contents[0]), stretches=found, proven=proof.objects if proof else 0)


def understood(kept: Kept, keyring: KeyRing) -> Run:
    """Raises UnknownWord where this program's machine has words no more that it was told then."""
    opening = kept.opening
    forms = tuple((name, tuple(fields)) for name, fields in opening["forms"])
    listener = words.listener(words.Grammar(signals=tuple(opening["signals"]), effects=tuple(opening["effects"]), forms=forms))

    def seal(text: str) -> Sealed[str]:
        return keyring.seal(kept.subject, text)

    briefing = listener.briefing(opening["briefing"], seal)
    start = CallState(briefing=briefing) if opening["state"] is None else listener.state(opening["state"], briefing)
    signals: list[Signal] = []
    for stretch in kept.stretches:
        signals += listener.signals(stretch.rows, stretch.place.from_ms)
    return Run(start=start, signals=signals, hearing=listener.thresholds(opening["hearing"]), listener=listener)
