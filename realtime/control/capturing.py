"""Keys in a conversation: some are words of the caller's, some are captured and seen by nobody."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from events.calls.control import CaptureBegan, CaptureOutcome, DigitsCaptured
from realtime.audio import BYTES_PER_MS
from realtime.machine.effects import BeginCapture, CancelTimer, EndCapture, SetTimer
from realtime.machine.signals import DigitPressed, DigitSealed, DigitsKept, Timer
from realtime.machine.state import Capture, Moment
from realtime.ports import Json, ToolSpec
from realtime.speaking import replying
from realtime.thinking import conversation
from realtime.turns.turn_taking import TurnOver

CAPTURE_DIGITS = ToolSpec(
    name="capture_digits",
    description=(
        "Have the caller key in digits that you must not know, such as a card number. Say with it what to key in and how to end. "
        "You get a reference that a tool can redeem, never the digits."
    ),
    input_schema={
        "type": "object",
        "properties": {
            "label": {"type": "string", "description": "What the digits are, such as card-number."},
            "digits": {"type": "integer", "minimum": 1, "maximum": 32, "description": "How many at most; the capture ends with the last."},
            "terminator": {"type": "string", "enum": ["#", "*"], "description": "The key that ends it earlier; # when not given."},
            "timeout_seconds": {"type": "integer", "minimum": 3, "maximum": 60, "description": "How long a pause may last; 15."},
        },
        "required": ["label", "digits"],
        "additionalProperties": False,
    },
)
_LABEL = re.compile(r"[^a-z0-9]+")
_MOST, _LONGEST_PAUSE_MS, _SHORTEST_PAUSE_MS, _PAUSE_MS = 32, 60_000, 3_000, 15_000
# Keys that follow each other this closely are one thing said.
_ONE_TURN_MS = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the agent asks to be keyed in."""

    label: str
    most: int
    terminator: str
    pause_ms: int


def wanted(arguments: Mapping[str, Json]) -> Wanted | None:
    """Read the model's arguments; None where they make no sense. The label stands on the log, so it is made a plain name."""
    label = _LABEL.sub("-", str(arguments.get("label", "")).lower()).strip("-")[:40]
    most, pause = arguments.get("digits"), arguments.get("timeout_seconds", _PAUSE_MS // 1000)
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= _MOST or not isinstance(pause, int | float):
        return None
    # A label of digits alone would be what it is to keep away from.
    name = label if any(letter.isalpha() for letter in label) else "digits"
    return Wanted(
        label=name, most=most, terminator="*" if arguments.get("terminator") == "*" else "#",
        pause_ms=int(min(max(pause * 1000, _SHORTEST_PAUSE_MS), _LONGEST_PAUSE_MS)),
    )  # fmt: skip


def begin(moment: Moment, asked: Wanted) -> bool:
    """From here on keys are sealed; False when they are already."""
    state = moment.state
    if state.capture is not None:
        return False
    number = state.next_capture
    capture = Capture(number=number, label=asked.label, pause_ms=asked.pause_ms, started_ms=moment.at_ms)
    moment.change(capture=capture, next_capture=number + 1)
    moment.note(CaptureBegan(label=asked.label, at_ms=moment.at_ms), essential=True)
    moment.do(
        BeginCapture(capture=number, most=asked.most, terminator=asked.terminator),
        SetTimer(timer=Timer.CAPTURE, at_ms=moment.at_ms + asked.pause_ms),
        CancelTimer(timer=Timer.SILENCE),
    )
    return True


def sealed(moment: Moment, signal: DigitSealed) -> None:
    """One more key that nobody saw. Who keys in has heard enough of what to key in."""
    capture = moment.state.capture
    if capture is None:
        return
    moment.change(capture=replace(capture, count=signal.count))
    moment.do(SetTimer(timer=Timer.CAPTURE, at_ms=moment.at_ms + capture.pause_ms))
    if replying.agent_talks(moment.state, moment.at_ms):
        replying.cut(moment)


def kept(moment: Moment, signal: DigitsKept) -> bool:
    """The digits are where a tool can fetch them, or could not be put there; returns whether the model waits to hear of it."""
    capture = moment.state.capture
    if capture is None or capture.number != signal.capture:
        return False
    if signal.reference:
        _over(moment, replace(capture, count=signal.count), CaptureOutcome.COMPLETE)
        told = (
            f"(The caller keyed in {signal.count} digits for {capture.label}. A tool can redeem them by the reference {signal.reference}.)"
        )
    else:
        _over(moment, replace(capture, count=signal.count), CaptureOutcome.NOT_KEPT)
        told = f"(The digits for {capture.label} could not be taken. Apologise, and offer another way.)"
    moment.change(talk=conversation.came_late(moment.state.talk, told))
    return True


def overdue(moment: Moment) -> bool:
    """No key for too long, since the last one or since we have said what to key in."""
    capture = moment.state.capture
    if capture is None:
        return False
    since_ms = moment.at_ms if moment.state.reply is not None else moment.state.speech.playout_end // BYTES_PER_MS
    if (due_ms := since_ms + capture.pause_ms) > moment.at_ms:
        moment.do(SetTimer(timer=Timer.CAPTURE, at_ms=due_ms))
        return False
    moment.do(EndCapture())
    _over(moment, capture, CaptureOutcome.TIMED_OUT)
    told = f"(The caller did not finish keying in {capture.label}; nothing was kept of it.)"
    moment.change(talk=conversation.came_late(moment.state.talk, told))
    return True


def lost(moment: Moment, label: str, since_ms: int, *, settled: bool) -> None:
    """The worker that had the digits, or their reference, is gone; `settled`: what became of them is on the log."""
    if not settled:
        aborted = CaptureOutcome.ABORTED
        moment.note(DigitsCaptured(label=label, count=0, outcome=aborted, started_ms=since_ms, ended_ms=moment.at_ms), essential=True)
    told = f"(The line broke over the keying in of {label}; nothing is left of it. Apologise in a few words, and ask for it again.)"
    moment.change(talk=conversation.came_late(moment.state.talk, told))


def _over(moment: Moment, capture: Capture, outcome: CaptureOutcome) -> None:
    moment.change(capture=None)
    moment.do(CancelTimer(timer=Timer.CAPTURE))
    moment.note(
        DigitsCaptured(label=capture.label, count=capture.count, outcome=outcome, started_ms=capture.started_ms, ended_ms=moment.at_ms),
        essential=True,
    )


def pressed(moment: Moment, signal: DigitPressed) -> None:
    """A key that is a word. As on every menu, who presses it need not hear the rest."""
    state = moment.state
    if state.capture is not None:
        return
    began_ms = state.keys_since_ms if state.keys else moment.at_ms
    moment.change(keys=state.keys + signal.digit, keys_since_ms=began_ms)
    moment.do(SetTimer(timer=Timer.KEYS, at_ms=moment.at_ms + _ONE_TURN_MS), CancelTimer(timer=Timer.SILENCE))
    ending = state.reply.ending if state.reply is not None else None
    if replying.agent_talks(state, moment.at_ms) and (ending is None or not ending.firm):
        replying.cut(moment)


def said(moment: Moment) -> TurnOver | None:
    """The keys pressed, as the caller's turn."""
    state = moment.state
    if not state.keys:
        return None
    moment.change(keys="")
    words = f"(The caller pressed {' '.join(state.keys)} on the keypad.)"
    return TurnOver(words=words, started_ms=state.keys_since_ms, ended_ms=moment.at_ms, recognised_ms=moment.at_ms, confidence=1.0)
