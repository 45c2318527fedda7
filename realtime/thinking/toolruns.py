"""The tools under way in a call: what each said, and which of them outlive the reply that asked for them."""

import json
from dataclasses import replace

from events.calls.thinking import ToolAnswered, ToolRequested
from realtime.machine.effects import CancelTimer, CancelTool, SetTimer
from realtime.machine.signals import Timer
from realtime.machine.state import CallState, Moment, ToolRun
from realtime.ports import Json, ToolOutcome, ToolUse

_CANCELLED = "The caller spoke before there was an answer; it was cancelled."
_STILL_RUNNING = {"status": "pending", "note": "The answer will be told as soon as it is there."}


def waiting(state: CallState) -> bool:
    """Whether the reply under way cannot go on before a tool has answered."""
    return any(not run.detached for run in state.tools)


def running(state: CallState, tool_use_id: str) -> ToolRun | None:
    return next((run for run in state.tools if run.use.tool_use_id == tool_use_id), None)


def as_text(content: Json) -> str:
    """One spelling for the record."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)


def add(moment: Moment, run: ToolRun) -> None:
    moment.change(tools=(*moment.state.tools, run))


def change(moment: Moment, run: ToolRun, **parts: object) -> ToolRun:
    """Put a changed run in its place; returns it."""
    changed: ToolRun = replace(run, **parts)  # type: ignore[arg-type]
    moment.change(tools=tuple(changed if one is run else one for one in moment.state.tools))
    return changed


def remove(moment: Moment, run: ToolRun) -> None:
    moment.change(tools=tuple(one for one in moment.state.tools if one is not run))
    moment.do(CancelTimer(timer=Timer.TOOL, of=run.use.tool_use_id))


def requested_fact(moment: Moment, run: ToolRun, filler: str | None) -> ToolRequested:
    seal = moment.state.briefing.seal
    return ToolRequested(
        turn=run.turn, tool_use_id=run.use.tool_use_id, tool=run.use.name, arguments=seal(as_text(dict(run.use.arguments))),
        idempotent=run.tool.idempotent, at_ms=run.requested_ms, filler=None if filler is None else seal(filler),
    )  # fmt: skip


def note_request(moment: Moment, run: ToolRun, filler: str | None = None) -> ToolRun:
    """Put an idempotent tool's request on the log, once: when it is known whether a filler went with it."""
    if run.noted:
        return run
    moment.note(requested_fact(moment, run, filler))
    return change(moment, run, noted=True)


def note_answer(moment: Moment, run: ToolRun, content: Json, *, failed: bool) -> None:
    answer = moment.state.briefing.seal(as_text(content))
    moment.note(
        ToolAnswered(turn=run.turn, tool_use_id=run.use.tool_use_id, tool=run.use.name, answer=answer, failed=failed, at_ms=moment.at_ms),
        essential=not run.tool.idempotent,
    )  # fmt: skip


def outcome(moment: Moment, use: ToolUse, content: Json, *, failed: bool) -> None:
    """Give the round under way the answer to one of its tool uses; the first answer counts."""
    reply = moment.state.reply
    if reply is None or all(use.tool_use_id != one.tool_use_id for one in reply.round.uses):
        return
    if any(use.tool_use_id == one.tool_use_id for one in reply.round.outcomes):
        return
    told = ToolOutcome(tool_use_id=use.tool_use_id, content=content, failed=failed)
    moment.change_reply(rounds=(*reply.rounds[:-1], replace(reply.round, outcomes=(*reply.round.outcomes, told))))


def give_up(moment: Moment) -> None:
    """The reply will not wait any longer. What may be run again is cancelled; what may not goes on, and its answer comes late."""
    for run in moment.state.tools:
        if run.detached:
            continue
        if run.tool.idempotent:
            note_answer(moment, note_request(moment, run), _CANCELLED, failed=True)
            drop(moment, run.use.tool_use_id)
            outcome(moment, run.use, _CANCELLED, failed=True)
        else:
            change(moment, run, detached=True)
            outcome(moment, run.use, _STILL_RUNNING, failed=False)


def drop(moment: Moment, tool_use_id: str) -> None:
    """Cancel a tool whose answer nobody wants any more."""
    if run := running(moment.state, tool_use_id):
        remove(moment, run)
        moment.do(CancelTool(tool_use_id=tool_use_id))


def allow_time(moment: Moment, run: ToolRun) -> None:
    moment.do(SetTimer(timer=Timer.TOOL, at_ms=moment.at_ms + run.tool.timeout_ms, of=run.use.tool_use_id))
