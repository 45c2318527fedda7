"""What Converse refuses, in its own words as far as they are known; a request that passes is one that a model may answer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.emulators.bedrock.reasoning import is_genuine
from realtime.ports import Message, ModelRequest, Reasoning, ToolOutcome, ToolSpec, ToolUse

_FIELDS: Final = frozenset(
    {
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "additionalModelRequestFields",
        "performanceConfig",
        "requestMetadata",
        "serviceTier",
    }
)
_BLOCKS: Final = frozenset({"text", "toolUse", "toolResult", "cachePoint", "reasoningContent"})
_MOST_CACHE_POINTS: Final = 4
_LEAST_THOUGHT: Final = 1024
_MODEL: Final = re.compile(r"((us|eu|jp|apac|global)\.)?anthropic\.claude-[a-z0-9.:-]+\Z")
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
_USE_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


class Refused(Exception):
    """A ValidationException; the text is its message."""


def read_request(model: str, body: Mapping[str, Any], without_sampling: Sequence[str] = ()) -> ModelRequest:
    """Check a request and read it. Raises Refused."""
    if not _MODEL.match(model):
        raise Refused("The provided model identifier is invalid.")
    if unknown := body.keys() - _FIELDS:
        raise Refused(f"extraneous key [{min(unknown)}] is not permitted")
    inference = body.get("inferenceConfig", {})
    if ("temperature" in inference or "topP" in inference) and any(part in model for part in without_sampling):
        raise Refused("`temperature` is deprecated for this model.")
    thinking = _thinking(body, inference)
    _cache_points(body)
    tools = _tools(body.get("toolConfig"))
    messages = _messages(body.get("messages") or [], model)
    if thinking:
        _must_have_thought(messages)
    if not tools and any(message.tool_uses or message.tool_outcomes for message in messages):
        raise Refused("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    return ModelRequest(
        model=model, system="\n".join(_system(body.get("system", []))), messages=messages, tools=tools,
        max_tokens=inference.get("maxTokens", 4096) - thinking, temperature=inference.get("temperature"), thinking_tokens=thinking,
        settled=_settled(body["messages"]),
    )  # fmt: skip


def _thinking(body: Mapping[str, Any], inference: Mapping[str, Any]) -> int:
    """The budget; 0 where none is asked for."""
    asked = body.get("additionalModelRequestFields", {}).get("thinking")
    if asked is None or asked.get("type") == "disabled":
        return 0
    budget = asked.get("budget_tokens", 0)
    if asked.get("type") != "enabled" or budget < _LEAST_THOUGHT:
        raise Refused(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_THOUGHT}")
    if inference.get("maxTokens", 4096) <= budget:
        raise Refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if inference.get("temperature", 1) != 1 or "topP" in inference:
        raise Refused("`temperature` may only be set to 1 when thinking is enabled.")
    if set(body.get("toolConfig", {}).get("toolChoice", {})) - {"auto"}:
        raise Refused("Thinking may not be enabled when tool_choice forces tool use.")
    return int(budget)


def _cache_points(body: Mapping[str, Any]) -> None:
    contents = [
        body.get("system", []),
        body.get("toolConfig", {}).get("tools", []),
        *(entry["content"] for entry in body.get("messages") or []),
    ]
    points = [block["cachePoint"] for content in contents for block in content if "cachePoint" in block]
    if len(points) > _MOST_CACHE_POINTS:
        raise Refused(f"A maximum of {_MOST_CACHE_POINTS} blocks with cachePoint may be provided. Found {len(points)}.")
    if any(content and "cachePoint" in content[0] for content in contents):
        raise Refused("A cachePoint must follow the content that it is for.")
    if any(point.get("type") != "default" or point.get("ttl", "5m") not in ("5m", "1h") for point in points):
        raise Refused("The value at cachePoint.type must be one of the following: default.")


def _settled(wire: Sequence[Mapping[str, Any]]) -> int:
    """What the caller of the service takes for settled: everything up to its last cache point."""
    return next((at + 1 for at in range(len(wire) - 1, -1, -1) if any("cachePoint" in block for block in wire[at]["content"])), 0)


def _must_have_thought(messages: Sequence[Message]) -> None:
    if messages[-1].tool_outcomes and not messages[-2].reasoning:
        raise Refused(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
        )


def _system(blocks: Sequence[Mapping[str, Any]]) -> list[str]:
    return [_text(block["text"], f"system.{at}") for at, block in enumerate(blocks) if "text" in block]


def _text(text: str, where: str) -> str:
    if not text.strip():
        raise Refused(f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try again.")
    return text


def _tools(config: Mapping[str, Any] | None) -> tuple[ToolSpec, ...]:
    if config is None:
        return ()
    specs = [tool["toolSpec"] for tool in config.get("tools", []) if "toolSpec" in tool]
    names = [spec["name"] for spec in specs]
    if not specs:
        raise Refused("toolConfig.tools must have at least one entry")
    if len(set(names)) < len(names) or not all(map(_TOOL_NAME.match, names)):
        raise Refused("Tool names must be unique and match [a-zA-Z0-9_-]{1,64}")
    if any(spec["inputSchema"]["json"].get("type") != "object" for spec in specs):
        raise Refused("The value at toolConfig.tools.inputSchema.json.type must be one of the following: object.")
    return tuple(
        ToolSpec(
            name=spec["name"],
            description=_text(spec.get("description", spec["name"]), "toolConfig"),
            input_schema=spec["inputSchema"]["json"],
        )
        for spec in specs
    )


def _messages(wire: Sequence[Mapping[str, Any]], model: str) -> tuple[Message, ...]:
    if not wire or wire[0]["role"] != "user":
        raise Refused("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
    messages, asked = list[Message](), tuple[ToolUse, ...]()
    for at, entry in enumerate(wire):
        message = _message(entry, f"messages.{at}.content", model)
        if messages and messages[-1].role == message.role:
            raise Refused("messages: roles must alternate between user and assistant")
        _match_tools(asked, message, at)
        asked = message.tool_uses
        messages.append(message)
    if messages[-1].role != "user":
        raise Refused("This model does not support assistant message prefill. The conversation must end with a user message.")
    return tuple(messages)


def _message(entry: Mapping[str, Any], where: str, model: str) -> Message:
    texts, uses, outcomes, thoughts = list[str](), list[ToolUse](), list[ToolOutcome](), list[Reasoning]()
    blocks = entry["content"]
    if not blocks:
        raise Refused(f"The content field in the Message object at {where.removesuffix('.content')} is empty. Add a ContentBlock object.")
    for at, block in enumerate(blocks):
        if len(block) != 1 or not block.keys() <= _BLOCKS:
            raise Refused(f"Invalid content block at {where}.{at}")
        if "reasoningContent" in block:
            if texts or uses:
                raise Refused(f"{where}.{at}: thinking blocks must come first")
            thoughts.append(_thought(block["reasoningContent"], entry["role"], f"{where}.{at}", model))
        elif "text" in block:
            texts.append(_text(block["text"], f"{where}.{at}"))
        elif "toolUse" in block:
            uses.append(_use(block["toolUse"], entry["role"], f"{where}.{at}"))
        elif "toolResult" in block:
            if texts:
                raise Refused(f"{where}: toolResult blocks must come before text")
            outcomes.append(_outcome(block["toolResult"], entry["role"], f"{where}.{at}"))
    if not (texts or uses or outcomes):
        raise Refused(f"{where}: an entry needs content beside cache points and thoughts")
    return Message(
        role=entry["role"], text="\n".join(texts), tool_uses=tuple(uses), tool_outcomes=tuple(outcomes), reasoning=tuple(thoughts)
    )  # fmt: skip


def _thought(block: Mapping[str, Any], role: str, where: str, model: str) -> Reasoning:
    if role != "assistant" or len(block) != 1 or not is_genuine(block):
        raise Refused(f"{where}: Invalid `signature` in `thinking` block")
    if "redactedContent" in block:
        return Reasoning(model=model, redacted=block["redactedContent"])
    return Reasoning(model=model, text=block["reasoningText"]["text"], signature=block["reasoningText"]["signature"])


def _use(block: Mapping[str, Any], role: str, where: str) -> ToolUse:
    named = _USE_ID.match(block["toolUseId"]) and _TOOL_NAME.match(block["name"])
    if role != "assistant" or not named or not isinstance(block["input"], dict):
        raise Refused(f"Invalid toolUse at {where}")
    return ToolUse(tool_use_id=block["toolUseId"], name=block["name"], arguments=block["input"])


def _outcome(block: Mapping[str, Any], role: str, where: str) -> ToolOutcome:
    contents = block.get("content", [])
    if role != "user" or len(contents) != 1 or block.get("status") not in (None, "success", "error"):
        raise Refused(f"Invalid toolResult at {where}")
    if "json" in contents[0] and not isinstance(contents[0]["json"], dict):
        raise Refused(
            f"The format of the value at {where}.toolResult.content.0.json is invalid. Provide a json object for the field and try again."
        )
    content = contents[0]["json"] if "json" in contents[0] else _text(contents[0]["text"], where)
    return ToolOutcome(tool_use_id=block["toolUseId"], content=content, failed=block.get("status") == "error")


def _match_tools(asked: Sequence[ToolUse], message: Message, at: int) -> None:
    wanted = {use.tool_use_id for use in asked}
    given = [outcome.tool_use_id for outcome in message.tool_outcomes]
    if len(wanted) < len(asked):
        raise Refused(f"messages.{at - 1}.content has duplicate toolUse ids")
    if missing := wanted - set(given):
        raise Refused(f"Expected toolResult blocks at messages.{at}.content for the following Ids: {', '.join(sorted(missing))}")
    if len(given) > len(wanted) or set(given) - wanted:
        raise Refused(f"The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse blocks of previous turn.")
