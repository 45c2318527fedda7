"""Runs a call again, by the pure machine from the signals that were kept, and holds what it does to what it did."""

from collections.abc import Sequence
from dataclasses import dataclass

from realtime.machine.effects import Effect
from realtime.machine.signals import Signal
from realtime.machine.stepping import step
from realtime.rerun import hearing
from realtime.rerun.runs import Kept, Run
from realtime.rerun.stretches import Prints


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first step that does other than it did. `then`: what is kept of its effects, at least their names; `now`: what it does.

    `signal` is None where it is the detector's decisions that differ.
    """

    step: int
    at_ms: int
    signal: Signal | None
    then: Sequence[object]
    now: Sequence[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`difference` is None where all steps, and all decisions of the detector, were the same."""

    steps: int
    windows: int
    difference: Difference | None


def run_again(kept: Kept, run: Run) -> Outcome:
    """Every step of the run, up to the first that differs."""
    state, at = run.start, 0
    for stretch in kept.stretches:
        prints = Prints()
        done: list[tuple[Effect, ...]] = []
        for signal in run.signals[at : at + len(stretch.checks)]:
            state, effects = step(state, signal)
            prints.add(effects)
            done.append(effects)
        if prints.whole != stretch.whole:
            here = next((n for n, (then, now) in enumerate(zip(stretch.checks, prints.checks, strict=False)) if then != now), 0)
            signal = run.signals[at + here]
            then = run.listener.effects(stretch.shown[here])
            difference = Difference(step=at + here, at_ms=signal.at_ms, signal=signal, then=then, now=done[here])
            return Outcome(steps=at + here, windows=0, difference=difference)
        at += len(stretch.rows)
    return _listen_again(kept, run, at)


def _listen_again(kept: Kept, run: Run, steps: int) -> Outcome:
    listening = hearing.unpack(stretch.heard for stretch in kept.stretches)
    then, now = listening.changes, hearing.decide_again(listening, run.hearing)
    windows = len(listening.windows)
    for place in range(max(len(then), len(now))):
        one, two = then[place : place + 1], now[place : place + 1]
        if one != two:
            at_ms = (*one, *two)[0].noticed_ms
            return Outcome(steps=steps, windows=windows, difference=Difference(step=steps, at_ms=at_ms, signal=None, then=one, now=two))
    return Outcome(steps=steps, windows=windows, difference=None)
