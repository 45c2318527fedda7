"""Signals and effects of a call's machine as a person reads them: on one line, without the bytes of what is sealed."""

from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from commands.calls.orders import Witness
from events.registry import type_of
from events.sealing import Sealed
from realtime.machine.effects import AskModel, Commit, Note

_LONGEST = 120


def signal_line(signal: Any) -> str:
    return _short(signal)


def effect_line(effect: object) -> str:
    """An effect of which only the name was kept is its name."""
    match effect:
        case str():
            return effect
        case Note(command=Witness(fact=fact)):
            return f"note {type_of(fact).name} {_short(fact)}"
        case Note(command=command) | Commit(command=command):
            return f"{type(effect).__name__} {_short(command)}"
        case AskModel(asked=asked, request=request):
            said = request.messages[-1].text if request.messages else ""
            return f"AskModel {asked}, {request.model}, {len(request.messages)} entries, the last “{said[:_LONGEST]}”"
        case _:
            return _short(effect)


def _short(value: Any) -> str:
    if isinstance(value, Sealed):
        return "(sealed)"
    if isinstance(value, Enum):
        return str(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        inside = (f"{each.name}={_short(getattr(value, each.name))}" for each in fields(value) if each.name != "at_ms")
        return f"{type(value).__name__}({', '.join(inside)})"
    said = repr(value)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
