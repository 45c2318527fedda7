"""What a call could have been held with instead: another prompt, another threshold, another sentence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from realtime.hearing import vad
from realtime.machine.briefing import Thresholds, Wording, thresholds
from realtime.machine.state import CallState
from realtime.rerun.runs import Run

_HEARING: Final[Mapping[str, str]] = {
    "interruption_threshold": "start_probability", "speech_start_ms": "start_ms", "speech_stop_ms": "stop_ms",
}  # fmt: skip


class UnknownChange(ValueError):
    """Nothing of this name can be changed; the text says what can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`parameters` are of the agent's version, by name, `wording` its sentences; None and empty: as it was."""

    prompt: str | None = None
    parameters: Mapping[str, float]
    wording: Mapping[str, str]


def change_of(said: Iterable[str]) -> Change:
    """Read `prompt=…`, `threshold.NAME=…`, `wording.NAME=…`. Raises UnknownChange."""
    prompt, parameters, wording = None, dict[str, float](), dict[str, str]()
    sentences, known = {each.name for each in fields(Wording)}, {each.name for each in fields(Thresholds)}
    for each in said:
        name, equals, value = each.partition("=")
        kind, _, of = name.partition(".")
        if not equals:
            raise UnknownChange(f"{each}: say what it is to be, as in {each}=…")
        if name == "prompt":
            prompt = value
        elif kind == "wording" and of in sentences:
            wording[of] = value
        elif kind == "threshold" and of in known:
            parameters[of] = _number(name, value)
        else:
            names = {"wording": sentences, "threshold": known}.get(kind)
            raise UnknownChange(f"{name} cannot be changed; " + (f"known are {', '.join(sorted(names))}" if names else _KINDS))
    return Change(prompt=prompt, parameters=parameters, wording=wording)


_KINDS = "what can be: prompt, threshold.NAME, wording.NAME"


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as cause:
        raise UnknownChange(f"{name} is a number, and {value} is none") from cause


def changed(run: Run, change: Change) -> tuple[CallState, vad.Thresholds]:
    """What the call begins with, and the detector hears by, under a change. Values out of bounds are pulled in, as an agent's are."""
    briefing = run.start.briefing
    bounded = thresholds({"parameters": dict(change.parameters)})
    parts: dict[str, Any] = {name: getattr(bounded, name) for name in change.parameters}
    wording = replace(briefing.wording, **change.wording)
    tongues = {name: replace(each, wording=wording) if name == briefing.language else each for name, each in briefing.tongues.items()}
    briefing = replace(
        briefing, thresholds=replace(briefing.thresholds, **parts), wording=wording, tongues=tongues,
        system_prompt=briefing.system_prompt if change.prompt is None else change.prompt,
    )  # fmt: skip
    hearing: dict[str, Any] = {_HEARING[name]: value for name, value in parts.items() if name in _HEARING}
    return replace(run.start, briefing=briefing), replace(run.hearing, **hearing)
