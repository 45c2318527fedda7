"""What the model is told of the conversation: the caller's words, and of the agent's only those that were heard.

The result is a context that Bedrock's Converse accepts whatever the talk did: a user's entry first and last, roles in turn, no
blank text, every tool use followed by its outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from realtime.ports import Message, Reasoning, ToolOutcome, ToolUse

_CALL_BEGINS = "(The phone call begins. The caller has said nothing yet.)"
_NO_WORDS = "(The caller said nothing.)"
# A rule of thumb for English; the provider's count comes with each reply.
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """The conversation so far, entry by entry; `turn` counts the caller's. `gist`: what was folded away, a line for each entry."""

    turn: int = 0
    messages: tuple[Message, ...] = ()
    gist: tuple[str, ...] = ()

    @property
    def unanswered(self) -> bool:
        """Whether the caller's words are the last of it."""
        return bool(self.messages) and self.messages[-1].role == "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A round of a reply that called tools: what was said before, what was asked, what came back."""

    text: str
    uses: tuple[ToolUse, ...]
    outcomes: tuple[ToolOutcome, ...]
    reasoning: tuple[Reasoning, ...] = ()


def caller_said(talk: Talk, words: str) -> Talk:
    """A new turn of the caller. Words that follow unanswered ones belong to the same entry."""
    return replace(_told(talk, words), turn=talk.turn + 1)


def came_late(talk: Talk, text: str) -> Talk:
    """Something that the model has to know before its next answer, told in the user's place."""
    return _told(talk, text)


def answered_turn(talk: Talk) -> int:
    """The last of the caller's turns that has an answer."""
    return talk.turn - 1 if talk.unanswered and talk.turn else talk.turn


def noted(talk: Talk, text: str) -> Talk:
    """Something that the model has to know about the caller's last words, told before them; nothing where they are answered."""
    if not talk.unanswered or talk.messages[-1].tool_outcomes:
        return talk
    last = talk.messages[-1]
    return replace(talk, messages=(*talk.messages[:-1], replace(last, text=f"{text}\n{last.text}")))


def _told(talk: Talk, words: str) -> Talk:
    if not words.strip():
        return talk
    if talk.unanswered:
        last = talk.messages[-1]
        joined = replace(last, text=f"{last.text}\n{words}" if last.text else words)
        return replace(talk, messages=(*talk.messages[:-1], joined))
    return replace(talk, messages=(*talk.messages, Message(role="user", text=words)))


def agent_said(talk: Talk, exchanges: Sequence[Exchange], heard: str) -> Talk:
    """A reply is over: its rounds with tools, then its last words, as they were heard. Nothing heard is nothing said."""
    messages = [*talk.messages]
    for exchange in exchanges:
        _begin_with_caller(messages)
        _join_assistant(messages, exchange.text, exchange.uses, exchange.reasoning)
        messages.append(Message(role="user", tool_outcomes=exchange.outcomes))
    if heard.strip():
        _begin_with_caller(messages)
        _join_assistant(messages, heard, ())
    return replace(talk, messages=tuple(messages))


def _begin_with_caller(messages: list[Message]) -> None:
    if not messages:
        messages.append(Message(role="user", text=_CALL_BEGINS))


def _join_assistant(messages: list[Message], text: str, uses: tuple[ToolUse, ...], reasoning: tuple[Reasoning, ...] = ()) -> None:
    last = messages[-1]
    if last.role == "assistant":
        # Only words without tools end the list on this side.
        joined = " ".join(part for part in (last.text, text.strip()) if part)
        messages[-1] = replace(last, text=joined, tool_uses=uses, reasoning=reasoning)
    else:
        messages.append(Message(role="assistant", text=text.strip(), tool_uses=uses, reasoning=reasoning))


def context(talk: Talk, exchanges: Sequence[Exchange], window_tokens: int) -> tuple[Message, ...]:
    """The entries for the next question. Exchanges of a reply that is under way stand after the caller's words.

    What was folded is told in a few words before the first entry. Entries are left out from the front only where folding could not
    make room, for a single reply's tools filled the window.
    """
    going_on = agent_said(talk, exchanges, "")
    messages = list(going_on.messages)
    if not messages:
        messages.append(Message(role="user", text=_CALL_BEGINS))
    if messages[-1].role == "assistant":
        messages.append(Message(role="user", text=_NO_WORDS))
    kept = _within(messages, window_tokens * _CHARACTERS_PER_TOKEN)
    if talk.gist and kept[0] is going_on.messages[0]:
        return (replace(kept[0], text=f"{told(talk.gist)}\n{kept[0].text}"), *kept[1:])
    return kept


def told(gist: Sequence[str]) -> str:
    """The folded part of the call, as it is told to the model."""
    return "(Earlier in this call, in short:\n" + "\n".join(gist) + ")"


def settled(talk: Talk, messages: Sequence[Message]) -> int:
    """How many of a context's entries stay as they are: those up to the agent's last words, which were heard as they stand."""
    last = next((at for at in range(len(talk.messages), 0, -1) if talk.messages[at - 1].role == "assistant"), 0)
    return last if len(messages) >= len(talk.messages) else 0


def _within(messages: list[Message], characters: int) -> tuple[Message, ...]:
    sizes = [_size(message) for message in messages]
    total, first = sum(sizes), 0
    while total > characters:
        following = next((at for at in range(first + 1, len(messages)) if may_begin(messages[at])), None)
        if following is None:
            break
        total -= sum(sizes[first:following])
        first = following
    return tuple(messages[first:])


def may_begin(message: Message) -> bool:
    """Whether a context can begin with this entry: a tool's answer needs its question before it."""
    return message.role == "user" and not message.tool_outcomes


def _size(message: Message) -> int:
    tools = sum(len(str(use.arguments)) + len(use.name) for use in message.tool_uses)
    thoughts = sum(len(one.text) + len(one.redacted) for one in message.reasoning)
    return len(message.text) + thoughts + tools + sum(len(str(outcome.content)) for outcome in message.tool_outcomes)


def size(messages: Sequence[Message]) -> int:
    """Characters of a context."""
    return sum(_size(message) for message in messages)


def estimated_tokens(characters: int) -> int:
    """Where the provider's own count never came."""
    return -(-characters // _CHARACTERS_PER_TOKEN)


def characters_of(tokens: int) -> int:
    """The other way round."""
    return tokens * _CHARACTERS_PER_TOKEN
