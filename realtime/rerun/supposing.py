"""What a call would have become with another prompt, threshold or sentence: the first that is otherwise, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from commands.calls.orders import Witness
from events.calls.talking import AgentInterrupted, CallerTurn
from realtime.hearing import vad
from realtime.machine import effects as do
from realtime.machine.signals import Signal, SpeechStarted, SpeechStopped
from realtime.machine.state import CallState
from realtime.machine.stepping import step
from realtime.rerun import hearing
from realtime.rerun.changing import Change, changed
from realtime.rerun.rerunning import Difference
from realtime.rerun.runs import Kept, Run
from realtime.rerun.world import Memory, Step, World, outside

Line = tuple[int, str]
_SHOWN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposed:
    """`was` and `would_be` are what the call did, and would have done, from the divergence on, with the time of each.

    `remarks` say where the world would have answered otherwise, so that what comes after is a guess, or stops.
    """

    divergence: Difference | None
    was: Sequence[Line] = ()
    would_be: Sequence[Line] = ()
    remarks: Sequence[str] = ()


def suppose(kept: Kept, run: Run, change: Change) -> Supposed:
    """The call once more in its own world, with something changed."""
    start, thresholds = changed(run, change)
    taken = list(run.signals)
    otherwise = _heard_otherwise(kept, run, thresholds)
    divergence, steps = _first(run.start, start, taken)
    heard = None if otherwise is None else _first_heard(taken, otherwise)
    if heard is not None and (divergence is None or heard.at_ms < divergence.at_ms):
        divergence = heard
    if divergence is None:
        return Supposed(divergence=None)
    spoken = [signal for signal in taken if isinstance(signal, SpeechStarted | SpeechStopped)] if otherwise is None else otherwise
    rest = [signal for signal in outside(taken) if not isinstance(signal, SpeechStarted | SpeechStopped)]
    memory = Memory(steps)
    as_it_was, world = World(memory, run.start, outside(taken)), World(memory, start, sorted([*rest, *spoken], key=lambda one: one.at_ms))
    as_it_was.play()
    world.play()
    was, again, would_be = (_lines(each) for each in (steps, as_it_was.steps, world.steps))
    remarks = [f"{ms // 1000} s: {remark}" for remark, ms in world.remarks.items()]
    if otherwise is not None:
        remarks.append("the recogniser's words are as they came: at other pauses it would have been asked at other times")
    if [line for _, line in was] != [line for _, line in again]:
        remarks.append("the world is imitated here: without any change this call comes out a little otherwise as well")
    since = divergence.at_ms
    return Supposed(
        divergence=divergence, was=[line for line in was if line[0] >= since][:_SHOWN],
        would_be=[line for line in would_be if line[0] >= since][:_SHOWN], remarks=remarks,
    )  # fmt: skip


def _heard_otherwise(kept: Kept, run: Run, thresholds: vad.Thresholds) -> list[SpeechStarted | SpeechStopped] | None:
    """When speech starts and stops by other thresholds; None where nothing changes. What is as it was is told when it was told."""
    if thresholds == run.hearing:
        return None
    listening = hearing.unpack(stretch.heard for stretch in kept.stretches)
    changes = hearing.decide_again(listening, thresholds)
    told = [signal for signal in run.signals if isinstance(signal, SpeechStarted | SpeechStopped)]
    before = dict(zip(listening.changes, told, strict=False)) if len(told) == len(listening.changes) else {}
    made = hearing.speech_signals(listening, changes)
    return None if changes == listening.changes else [before.get(change, signal) for change, signal in zip(changes, made, strict=True)]


def _first(was: CallState, would_be: CallState, taken: Sequence[Signal]) -> tuple[Difference | None, list[Step]]:
    """The first step that differs, from the same signals; and all steps as they were."""
    found: Difference | None = None
    steps: list[Step] = []
    for place, signal in enumerate(taken):
        was, effects = step(was, signal)
        steps.append((signal, effects))
        if found is None:
            would_be, instead = step(would_be, signal)
            if effects != instead:
                found = Difference(step=place, at_ms=signal.at_ms, signal=signal, then=effects, now=instead)
    return found, steps


def _first_heard(taken: Sequence[Signal], otherwise: Sequence[Signal]) -> Difference | None:
    """The first start or stop of speech that would have been noticed otherwise."""
    told = [(place, signal) for place, signal in enumerate(taken) if isinstance(signal, SpeechStarted | SpeechStopped)]
    for (place, then), now in zip_longest(told, otherwise, fillvalue=(len(taken), None)):
        if then != now:
            sides = [[one] if one is not None and not isinstance(one, tuple) else [] for one in (then, now)]
            at_ms = min(one.at_ms for side in sides for one in side)
            return Difference(step=place, at_ms=at_ms, signal=None, then=sides[0], now=sides[1])
    return None


def _lines(steps: Sequence[Step]) -> list[Line]:
    return [(signal.at_ms, line) for signal, effects in steps for effect in effects if (line := _line(effect))]


def _line(effect: object) -> str:
    """What a person would call a decision; empty for what only serves one."""
    match effect:
        case do.Speak(text=text):
            return f"the agent says “{text}”"
        case do.AskModel(request=request):
            return f"{request.model} is asked"
        case do.RunTool(use=use):
            return f"the tool {use.name} runs"
        case do.Note(command=Witness(fact=CallerTurn(turn=turn))):
            return f"the caller's turn {turn} is over"
        case do.Note(command=Witness(fact=AgentInterrupted())):
            return "the caller interrupts the agent"
        case do.StartRecorder():
            return "the recording starts"
        case do.StopRecorder():
            return "the recording stops"
        case do.Finish(reason=reason):
            return f"the call ends: {reason}"
        case _:
            return ""
