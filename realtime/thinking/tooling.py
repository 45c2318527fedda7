"""Tools in a call: requested on the log, run beside the talk, bounded in time, and never cut off when their effect is for ever."""

from dataclasses import replace

from commands.calls.orders import Witness
from events.calls.ending import EndedBy
from realtime.consent import recording_consent
from realtime.control import requests
from realtime.machine.briefing import Briefing
from realtime.machine.effects import RunTool, SetTimer
from realtime.machine.signals import Timer, ToolReturned
from realtime.machine.state import Awaited, Ending, Moment, Pending, ToolRun, ToolStage
from realtime.ports import Json, Tool, ToolSpec, ToolUse
from realtime.speaking import replying, tongues
from realtime.speaking.pronouncing import alternatives
from realtime.thinking import conversation, toolruns
from realtime.turns.phrases import says_goodbye

WITHDRAW = ToolSpec(
    name="withdraw_recording_consent",
    description="Stop the recording of this call at once and note that the caller withdraws their consent to be recorded.",
    input_schema={"type": "object", "properties": {}, "additionalProperties": False},
)
END_CALL = ToolSpec(
    name="end_call",
    description="End the phone call after the words said with it have been spoken. Use it when the conversation is over.",
    input_schema={"type": "object", "properties": {}, "additionalProperties": False},
)
_TOO_MANY = "Too many tools at once; this one was not run. Answer with what you know."
_UNKNOWN = "There is no tool of this name."
_NO_ANSWER = "The tool did not answer in time."
_PENDING = {"status": "pending", "note": "It takes longer than usual, and may still happen. Its answer will be told when it comes."}
_UNDER_WAY = {"status": "pending", "note": "The same is under way already and is not begun again. Its answer will be told when it comes."}
_IN_DOUBT = "The same was asked before the line broke, and may have been done; it is not done again. Say that it will be checked."
_NOT_ON_RECORD = "This cannot be done now, because it cannot be put on record. It was not done. Say so, and offer to try again later."


def offered(briefing: Briefing) -> tuple[ToolSpec, ...]:
    """Every tool that the model may ask for: the call's own, the line's, and the agent's."""
    return (WITHDRAW, END_CALL, *requests.offered(briefing), *tongues.offered(briefing), *(tool.spec for tool in briefing.tools))


def request(moment: Moment, use: ToolUse, faults: str = "") -> None:
    """The model asks for a tool: begin it, or answer at once why not."""
    state, reply = moment.state, moment.state.reply
    if reply is None or any(use.tool_use_id == one.tool_use_id for one in reply.round.uses):
        return
    moment.change_reply(rounds=(*reply.rounds[:-1], replace(reply.round, uses=(*reply.round.uses, use))))
    tool = next((tool for tool in state.briefing.tools if tool.spec.name == use.name), None)
    if use.name == WITHDRAW.name:
        was_on = recording_consent.withdraw(moment, "asked through the agent")
        toolruns.outcome(moment, use, {"recording": "stopped" if was_on else "was not on", "consent": "withdrawn"}, failed=False)
    elif use.name == END_CALL.name:
        by = EndedBy.CALLER if says_goodbye(state.turn_words, state.briefing.language) else EndedBy.AGENT
        moment.change_reply(ending=Ending(reason="goodbye", ended_by=by, billable=True))
        toolruns.outcome(moment, use, {"status": "the call ends after these words"}, failed=False)
    elif requests.request(moment, use):
        return
    elif tool is None and not tongues.asked_for(state, use):
        toolruns.outcome(moment, use, _UNKNOWN, failed=True)
    elif faults:
        toolruns.outcome(moment, use, f"The arguments do not fit: {faults}. It was not run. Correct them, or ask the caller.", failed=True)
    elif tool is None:
        told, failed = tongues.request(moment, use)
        toolruns.outcome(moment, use, told, failed=failed)
    elif not tool.idempotent and any((one.use.name, one.use.arguments) == (use.name, use.arguments) for one in state.tools):
        toolruns.outcome(moment, use, _UNDER_WAY, failed=False)
    elif not tool.idempotent and any((one.name, one.arguments) == (use.name, use.arguments) for one in state.in_doubt):
        toolruns.outcome(moment, use, _IN_DOUBT, failed=True)
    elif len(state.tools) >= state.briefing.thresholds.max_tool_calls or len(reply.rounds) > state.briefing.thresholds.max_tool_rounds:
        toolruns.outcome(moment, use, _TOO_MANY, failed=True)
    else:
        _begin(moment, use, tool)


def _begin(moment: Moment, use: ToolUse, tool: Tool) -> None:
    state = moment.state
    stage = ToolStage.RUNNING if tool.idempotent else ToolStage.COMMITTING
    run = ToolRun(use=use, tool=tool, turn=state.talk.turn, stage=stage, requested_ms=moment.at_ms, noted=not tool.idempotent)
    toolruns.add(moment, run)
    if tool.idempotent:
        _run(moment, run)
        moment.do(SetTimer(timer=Timer.FILLER, at_ms=moment.at_ms + state.briefing.thresholds.filler_after_ms))
    else:
        # What is done for ever takes its time, and first the log's: the filler goes with the request.
        filler = say_filler(moment)
        moment.commit(Witness(fact=toolruns.requested_fact(moment, run, filler)), Awaited.TOOL, of=use.tool_use_id)


def run_again(moment: Moment, use: ToolUse, tool: Tool, turn: int) -> None:
    """Ask once more what another worker asked, under the same key; for tools that may be asked as often as one likes."""
    run = ToolRun(use=use, tool=tool, turn=turn, stage=ToolStage.RUNNING, requested_ms=moment.at_ms, noted=True)
    toolruns.add(moment, run)
    _run(moment, run)


def _run(moment: Moment, run: ToolRun) -> None:
    key = f"{moment.state.briefing.call_id}:{run.turn}:{run.use.tool_use_id}"
    moment.do(RunTool(use=run.use, idempotency_key=key))
    toolruns.allow_time(moment, run)


def request_on_log(moment: Moment, pending: Pending) -> None:
    """The request of a tool whose effect is for ever is on the log: now it may run."""
    run = toolruns.running(moment.state, pending.of)
    if run is not None and run.stage is ToolStage.COMMITTING:
        _run(moment, toolruns.change(moment, run, stage=ToolStage.RUNNING))


def request_not_on_log(moment: Moment, pending: Pending) -> bool:
    """It could not be put on the log, so it is not run; returns whether the reply was waiting for it."""
    run = toolruns.running(moment.state, pending.of)
    if run is None or run.stage is not ToolStage.COMMITTING:
        return False
    toolruns.note_answer(moment, run, _NOT_ON_RECORD, failed=True)
    toolruns.remove(moment, run)
    return _answer(moment, run, _NOT_ON_RECORD, failed=True)


def returned(moment: Moment, signal: ToolReturned) -> bool:
    """A tool answered; returns whether somebody waits for it: the reply, or the model that was told it would come."""
    run = toolruns.running(moment.state, signal.tool_use_id)
    if run is None:
        return False
    run = toolruns.note_request(moment, run)
    toolruns.note_answer(moment, run, signal.content, failed=signal.failed)
    toolruns.remove(moment, run)
    return _answer(moment, run, signal.content, failed=signal.failed)


def _answer(moment: Moment, run: ToolRun, content: Json, *, failed: bool) -> bool:
    if run.detached:
        text = f"(The late answer of {run.use.name}: {toolruns.as_text(content)})"
        moment.change(talk=conversation.came_late(moment.state.talk, text))
    else:
        toolruns.outcome(moment, run.use, content, failed=failed)
    return True


def overdue(moment: Moment, tool_use_id: str) -> bool:
    """The time for a tool is over. One that cannot be taken back gets as much again, without anybody waiting for it."""
    run = toolruns.running(moment.state, tool_use_id)
    if run is None:
        return False
    if run.tool.idempotent or run.overtime:
        toolruns.note_answer(moment, toolruns.note_request(moment, run), _NO_ANSWER, failed=True)
        toolruns.drop(moment, tool_use_id)
        return _answer(moment, run, _NO_ANSWER, failed=True)
    waited_for = not run.detached
    if waited_for:
        toolruns.outcome(moment, run.use, _PENDING, failed=False)
    toolruns.allow_time(moment, toolruns.change(moment, run, detached=True, overtime=True))
    return waited_for


def slow(moment: Moment) -> None:
    """The tools have not answered within the time that a pause may last: a filler, and their requests go on the log with it."""
    filler = say_filler(moment)
    for run in moment.state.tools:
        if not run.detached and not run.noted:
            toolruns.note_request(moment, run, filler)


def say_filler(moment: Moment) -> str | None:
    """A phrase of the tool's own, in turn, or of the agent's; nothing when the agent has just said something in this round."""
    state, reply = moment.state, moment.state.reply
    if reply is None or reply.wrote:
        return None
    runs = [run for run in state.tools if not run.detached]
    words = state.briefing.wording
    own = runs[0].tool.fillers if len(runs) == 1 else ()
    return replying.say_filler(moment, own or alternatives(words.many_tools if len(runs) > 1 else words.one_tool))
