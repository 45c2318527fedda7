"""The words that a call's machine is told and answers with, as they are kept: each a short list that begins with its kind's number."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias, get_args, get_type_hints

import msgspec

from events.sealing import Sealed
from realtime.hearing import vad
from realtime.machine.briefing import Briefing
from realtime.machine.effects import Effect
from realtime.machine.signals import Signal
from realtime.machine.state import CallState
from realtime.rerun.plain import Pack, Reader, forms_of, packer

Row: TypeAlias = Sequence[Any]

_SIGNALS: Final[tuple[type, ...]] = get_args(Signal)
_EFFECTS: Final[tuple[type, ...]] = get_args(Effect)
# What makes boxes is no value; the state has its briefing beside it.
_BRIEFING: Final = {name: hint for name, hint in get_type_hints(Briefing).items() if name != "seal"}
_STATE: Final = {name: hint for name, hint in get_type_hints(CallState).items() if name != "briefing"}
_PACK_SIGNAL: Final = {kind: (number, packer(kind)) for number, kind in enumerate(_SIGNALS)}
_PACK_EFFECT: Final = {kind: (number, packer(kind)) for number, kind in enumerate(_EFFECTS)}
_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_decode = msgspec.msgpack.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """By which numbers and fields a program wrote its words."""

    signals: tuple[str, ...]
    effects: tuple[str, ...]
    forms: tuple[tuple[str, tuple[str, ...]], ...]


OURS: Final = Grammar(
    signals=tuple(kind.__name__ for kind in _SIGNALS), effects=tuple(kind.__name__ for kind in _EFFECTS),
    forms=tuple(forms_of([Signal, Effect, vad.Thresholds, *_BRIEFING.values(), *_STATE.values()]).items()),
)  # fmt: skip


class UnknownWord(ValueError):
    """A signal of a kind that this program has no more: the call cannot be run again by it."""


def signal_rows(signals: Iterable[Signal], from_ms: int) -> tuple[list[Row], int]:
    """Each signal's time is told by the time since the one before it; returns the rows and the last one's time."""
    rows: list[Row] = []
    for signal in signals:
        number, pack = _PACK_SIGNAL[type(signal)]
        at_ms, *rest = pack(signal)
        rows.append((number, at_ms - from_ms, *rest))
        from_ms = at_ms
    return rows, from_ms


def effect_bytes(effects: Sequence[Effect]) -> bytes:
    """All that a step led to, in the one spelling by which steps are compared."""
    rows = []
    for effect in effects:
        number, pack = _PACK_EFFECT[type(effect)]
        rows.append((number, *pack(effect)))
    return _encode(rows)


def told(effects: Sequence[Effect]) -> tuple[int, ...]:
    """The kinds of a step's effects alone."""
    return tuple(_PACK_EFFECT[type(effect)][0] for effect in effects)


def briefing_row(briefing: Briefing) -> Mapping[str, Any]:
    return {name: packer(hint)(getattr(briefing, name)) for name, hint in _BRIEFING.items()}


def state_row(state: CallState) -> Mapping[str, Any]:
    return {name: packer(hint)(getattr(state, name)) for name, hint in _STATE.items()}


@lru_cache(maxsize=8)
def listener(grammar: Grammar) -> "Listener":
    """Most runs were written by few programs."""
    return Listener(grammar)


class Listener:
    """Understands words that a program wrote by a grammar of its own."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar, self._reader = grammar, Reader(dict(grammar.forms))
        known = {kind.__name__: kind for kind in (*_SIGNALS, *_EFFECTS)}
        self._signals = [self._reader.dataclass(known[name], before=1) if name in known else None for name in grammar.signals]
        self._effects = [self._reader.dataclass(known[name], before=1) if name in known else None for name in grammar.effects]

    def signals(self, rows: Iterable[list[Any]], from_ms: int) -> list[Signal]:
        """Raises UnknownWord."""
        heard: list[Signal] = []
        readers = self._signals
        for row in rows:
            from_ms += row[1]
            row[1] = from_ms
            read = readers[row[0]]
            if read is None:
                raise UnknownWord(f"{self._grammar.signals[row[0]]} is no signal of this program")
            heard.append(read(row))
        return heard

    def effects(self, kept: bytes | Sequence[int]) -> tuple[Effect | str, ...]:
        """What a step led to, as far as it is kept: whole, or by the names alone."""
        if not isinstance(kept, bytes):
            return tuple(self._grammar.effects[number] for number in kept)
        rows = _decode(kept)
        return tuple(read(row) if (read := self._effects[row[0]]) else self._grammar.effects[row[0]] for row in rows)

    def briefing(self, row: Mapping[str, Any], seal: Callable[[str], Sealed[str]]) -> Briefing:
        return Briefing(seal=seal, **self._fields(_BRIEFING, row))

    def state(self, row: Mapping[str, Any], briefing: Briefing) -> CallState:
        return CallState(briefing=briefing, **self._fields(_STATE, row))

    def thresholds(self, row: Any) -> vad.Thresholds:
        read: Pack = self._reader.of(vad.Thresholds)
        found: vad.Thresholds = read(row)
        return found

    def _fields(self, hints: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._reader.of(hints[name])(value) for name, value in row.items() if name in hints}
