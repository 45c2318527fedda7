"""A question as ConverseStream takes it, whatever the context looks like: the service refuses more than it says."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.adapters.bedrock.traits import PLAIN, Traits
from realtime.ports import Json, Message, ModelRequest, Reasoning, ToolUse

# Parts of the ids of models that refuse temperature and the like.
WITHOUT_SAMPLING: Final = ("claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5", "claude-fable-5")
CHARACTERS_PER_TOKEN: Final = 4
_LEAST_THOUGHT: Final = 1024
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_NO_WORDS: Final = "(nothing was said)"
_NO_ANSWER: Final = "The tool gave no answer."


def wire_request(request: ModelRequest, without_sampling: Sequence[str] = WITHOUT_SAMPLING, traits: Traits = PLAIN) -> dict[str, Any]:
    """The keyword arguments of `converse_stream`."""
    thinking = request.thinking_tokens if traits.thinks and request.thinking_tokens >= _LEAST_THOUGHT else 0
    messages = _messages(request.messages, request.model if thinking else None, request.settled)
    if thinking and not _may_think(messages):
        thinking, messages = 0, _messages(request.messages, None, request.settled)
    inference: dict[str, Any] = {"maxTokens": request.max_tokens + thinking}
    # Who thinks at length takes no temperature either.
    if request.temperature is not None and not thinking and not any(part in request.model for part in without_sampling):
        inference["temperature"] = request.temperature
    wire: dict[str, Any] = {"modelId": request.model, "messages": messages, "inferenceConfig": inference}
    if thinking:
        wire["additionalModelRequestFields"] = {"thinking": {"type": "enabled", "budget_tokens": thinking}}
    if request.system.strip():
        wire["system"] = [{"text": request.system}]
    if tools := _tools(request, messages):
        wire["toolConfig"] = {"tools": tools}
    _put_cache_points(wire, request, traits.cache_minimum_tokens)
    return wire


def _may_think(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Not where the model would have to go on from tools that it, or another model, asked for without having thought."""
    if not any("toolResult" in block for block in messages[-1]["content"]):
        return True
    return "reasoningContent" in messages[-2]["content"][0]


def _is_of(thought: Reasoning, model: str) -> bool:
    return thought.model == model and bool(thought.redacted or thought.signature)


def _put_cache_points(wire: dict[str, Any], request: ModelRequest, minimum_tokens: int | None) -> None:
    """After the prompt, which stands behind the tools, and after what will stand in the next question as well: where it pays."""
    stable = next((message["content"] for message in wire["messages"] if _mark(message["content"]) is not None), None)
    at = None if stable is None else _mark(stable)
    if stable is not None and at is not None:
        del stable[at]
    if minimum_tokens is None:
        return
    least = minimum_tokens * CHARACTERS_PER_TOKEN
    length = len(json.dumps([wire.get("toolConfig", {}), wire.get("system", [])], ensure_ascii=False))
    point = {"cachePoint": {"type": "default"}}
    if length >= least and "system" in wire:
        wire["system"].append(point)
    if stable is not None and at is not None and length + sum(map(characters, request.messages[: request.settled])) >= least:
        stable.insert(at, point)


# Holds the place of a cache point until it is known whether it pays; never sent.
_PLACE: Final = {"cachePoint": {"type": "place"}}


def _mark(content: Sequence[Any]) -> int | None:
    return next((at for at, block in enumerate(content) if block is _PLACE), None)


def _tools(request: ModelRequest, messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What is offered; and what the context speaks of, for tool blocks without a definition are refused."""
    tools = {tool.name: (tool.description, tool.input_schema) for tool in request.tools}
    for message in messages:
        for block in message["content"]:
            if "toolUse" in block:
                tools.setdefault(block["toolUse"]["name"], ("No longer offered.", {"type": "object"}))
    return [
        {"toolSpec": {"name": name, "description": description or name, "inputSchema": {"json": dict(schema)}}}
        for name, (description, schema) in tools.items()
    ]


def _messages(messages: Sequence[Message], thinker: str | None, settled: int) -> list[dict[str, Any]]:
    """A user first and last, roles in turn, no blank text, each use of a tool followed by its outcome, no outcome without a use.

    `thinker` is the model that gets its own thoughts back, if it thinks in this request.
    """
    wire: list[dict[str, Any]] = []
    asked: list[str] = []
    for at, message in enumerate(messages):
        if message.role == "assistant":
            fresh = {_proper(use.tool_use_id): use for use in message.tool_uses}.values()
            blocks = [*_text(message.text), *({"toolUse": _use(use)} for use in fresh)]
            uses = [_proper(use.tool_use_id) for use in fresh]
        else:
            blocks = [*_outcomes(message, asked), *_text(message.text)]
            uses = []
        if not blocks:
            continue
        if asked and message.role == "assistant":
            _add(wire, "user", _outcomes(Message(role="user"), asked))
        if not wire and message.role == "assistant":
            _add(wire, "user", _text(_NO_WORDS))
        if message.role == "assistant" and wire[-1]["role"] != "assistant":
            # Thoughts come first in an entry, or not at all.
            blocks = [*(_thought(one) for one in message.reasoning if thinker is not None and _is_of(one, thinker)), *blocks]
        _add(wire, message.role, blocks)
        if at + 1 == settled and message.role == "assistant":
            wire[-1]["content"].append(_PLACE)
        asked = uses
    if asked:
        _add(wire, "user", _outcomes(Message(role="user"), asked))
    if not wire or wire[-1]["role"] == "assistant":
        _add(wire, "user", _text(_NO_WORDS))
    return wire


def _add(wire: list[dict[str, Any]], role: str, blocks: list[Any]) -> None:
    if wire and wire[-1]["role"] == role:
        wire[-1]["content"] += blocks
    else:
        wire.append({"role": role, "content": blocks})


def _text(text: str) -> list[Any]:
    return [{"text": text.strip()}] if text.strip() else []


def _thought(thought: Reasoning) -> dict[str, Any]:
    if thought.redacted:
        return {"reasoningContent": {"redactedContent": base64.b64decode(thought.redacted)}}
    return {"reasoningContent": {"reasoningText": {"text": thought.text, "signature": thought.signature}}}


def _use(use: ToolUse) -> dict[str, Any]:
    return {"toolUseId": _proper(use.tool_use_id), "name": _proper(use.name), "input": dict(use.arguments)}


def _proper(name: str) -> str:
    """A name that the service accepts: a model may make one up that it does not, and its own context must not be refused for it."""
    return name if _NAME.match(name) else re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "_"


def _outcomes(message: Message, asked: Sequence[str]) -> list[Any]:
    given = {_proper(outcome.tool_use_id): outcome for outcome in message.tool_outcomes}
    blocks = []
    for use_id in asked:
        outcome = given.get(use_id)
        content, failed = (_NO_ANSWER, True) if outcome is None else (outcome.content, outcome.failed)
        # Converse takes objects as JSON; everything else is told as text.
        block = {"json": dict(content)} if isinstance(content, Mapping) else {"text": _as_text(content)}
        blocks.append({"toolResult": {"toolUseId": use_id, "content": [block], "status": "error" if failed else "success"}})
    return blocks


def _as_text(content: Json) -> str:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    return text.strip() or "(empty)"


def characters(message: Message) -> int:
    """How long an entry is, for an estimate of its tokens."""
    uses = sum(len(use.name) + len(str(use.arguments)) for use in message.tool_uses)
    return len(message.text) + uses + sum(len(str(outcome.content)) for outcome in message.tool_outcomes)
