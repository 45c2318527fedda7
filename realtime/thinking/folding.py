"""Keeps the context within its window: seldom, and then much at once, for each fold makes a provider's prompt cache worthless."""

import json
from dataclasses import replace

from events.calls.thinking import ContextFolded
from realtime.machine.state import CallState, Moment
from realtime.ports import Message
from realtime.thinking import conversation, tooling
from realtime.thinking.conversation import Talk

# What is left of an entry, of all entries that were folded, and of the window after a fold.
_LINE_CHARACTERS = 160
_GIST_SHARE = 8
_LEFT_PERCENT = 60


def fold_if_full(moment: Moment) -> None:
    """Put the oldest entries together to a few words when the next question would not fit the window any more."""
    state = moment.state
    room = room_for(state)
    before = _size(state.talk)
    if before <= room:
        return
    talk = folded(state.talk, room)
    entries = len(state.talk.messages) - len(talk.messages)
    if not entries:
        return
    moment.change(talk=talk)
    moment.note(
        ContextFolded(
            turn=talk.turn, entries=entries, tokens_before=conversation.estimated_tokens(before),
            tokens_after=conversation.estimated_tokens(_size(talk)), at_ms=moment.at_ms,
        )
    )  # fmt: skip


def full(state: CallState, talk: Talk) -> bool:
    """Whether a question about this talk has to be preceded by a fold."""
    return _size(talk) > room_for(state)


def room_for(state: CallState) -> int:
    """Characters that the window leaves for the conversation, beside the prompt, the tools, and the answer to come."""
    briefing = state.briefing
    tools = sum(len(tool.name) + len(tool.description) + len(json.dumps(dict(tool.input_schema))) for tool in tooling.offered(briefing))
    window = conversation.characters_of(briefing.thresholds.context_window - briefing.thresholds.max_tokens)
    return max(0, window - len(briefing.system_prompt) - tools)


def folded(talk: Talk, room: int) -> Talk:
    """The talk without its oldest entries, as many as leave three fifths of the room; a tool's use and its answer stay together.

    The last words of the caller always stay, and so does the whole of what no entry may begin.
    """
    messages, goal = talk.messages, room * _LEFT_PERCENT // 100
    beginnings = [at for at in range(1, len(messages)) if conversation.may_begin(messages[at])]
    if not beginnings:
        return talk
    rest = [conversation.size(messages[at:]) + room // _GIST_SHARE for at in beginnings]
    first = next((at for at, size in zip(beginnings, rest, strict=True) if size <= goal), beginnings[-1])
    gist = [*talk.gist, *(line for message in messages[:first] if (line := _line(message)))]
    while gist and sum(map(len, gist)) > room // _GIST_SHARE:
        gist.pop(0)
    return replace(talk, messages=messages[first:], gist=tuple(gist))


def _size(talk: Talk) -> int:
    return conversation.size(talk.messages) + sum(map(len, talk.gist))


def _line(message: Message) -> str:
    who = "You" if message.role == "assistant" else "Caller"
    said = f"{who}: {_short(message.text)}" if message.text.strip() else ""
    used = "; ".join(f"you used {use.name}" for use in message.tool_uses)
    answered = "; ".join(f"it answered {_short(str(outcome.content))}" for outcome in message.tool_outcomes)
    return "; ".join(part for part in (answered, said, used) if part)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LINE_CHARACTERS else f"{words[:_LINE_CHARACTERS]}…"
