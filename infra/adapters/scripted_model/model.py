"""A language model that needs no account: it answers what was recognised, by scripts that are data, and streams as a real one does."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from infra.adapters.scripted_model.dialogue import Conversation, Plan
from infra.adapters.scripted_model.script import Script, read_script
from realtime.ports import ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage, ToolUse

_GENERAL: Final = Path(__file__).with_name("general.json")
_CHARACTERS_PER_TOKEN: Final = 4


def general_script() -> Script:
    """What every agent can talk about: greetings, goodbyes, what it is and can do, the recording."""
    return read_script(json.loads(_GENERAL.read_text("utf-8")))


class ScriptedModel:
    """Stands in for Bedrock, and is priced as it. Holds no conversation: each reply follows from its request alone.

    An agent speaks by the script whose `agent` stands in its system prompt, any other one by the general script. The first word
    comes after `first_word_ms`, each further one after `word_ms`. A token is four characters, a part of four is one too.
    """

    name = "bedrock"
    embedded = True

    def __init__(self, scripts: Sequence[Script] = (), *, first_word_ms: int = 250, word_ms: int = 12) -> None:
        self._conversations = [(script.agent, Conversation(script)) for script in (*scripts, general_script())]
        self._first_word_seconds, self._word_seconds = first_word_ms / 1000, word_ms / 1000

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Stream one reply; it never fails."""
        conversation = next(talk for agent, talk in self._conversations if agent in request.system)
        plan = conversation.next(request)
        limit = request.max_tokens * _CHARACTERS_PER_TOKEN
        text, uses = plan.text[:limit], _uses(plan, request) if len(plan.text) <= limit else []
        await asyncio.sleep(self._first_word_seconds)
        for at, word in enumerate(text.split(" ") if text else ()):
            if at:
                await asyncio.sleep(self._word_seconds)
            yield TextDelta(text=f" {word}" if at else word)
        for use in uses:
            yield use
        reason = "max_tokens" if len(plan.text) > limit else "tool_use" if uses else "end_turn"
        written = len(text) + sum(len(use.name) + len(json.dumps(dict(use.arguments))) for use in uses)
        yield ModelStopped(reason=reason, usage=TokenUsage(input_tokens=_tokens(_read(request)), output_tokens=_tokens(written)))


def _uses(plan: Plan, request: ModelRequest) -> list[ToolUse]:
    """A use's id follows from the conversation before it, so that the same question asked again is the same use."""
    before = sha256(repr(request.messages).encode()).hexdigest()[:20]
    return [ToolUse(tool_use_id=f"tooluse_{before}{at}", name=name, arguments=arguments) for at, (name, arguments) in enumerate(plan.uses)]


def _read(request: ModelRequest) -> int:
    """Characters of the question."""
    tools = sum(len(tool.name) + len(tool.description) + len(json.dumps(dict(tool.input_schema))) for tool in request.tools)
    said = sum(len(message.text) for message in request.messages)
    used = sum(len(json.dumps(dict(use.arguments))) + len(use.name) for message in request.messages for use in message.tool_uses)
    told = sum(len(json.dumps(outcome.content, default=str)) for message in request.messages for outcome in message.tool_outcomes)
    return len(request.system) + tools + said + used + told


def _tokens(characters: int) -> int:
    return -(-characters // _CHARACTERS_PER_TOKEN)
