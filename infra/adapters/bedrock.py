"""Amazon Bedrock's Converse, streamed: one warm client for all calls of a process."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from realtime.ports import EngineUnavailable, Json, Message, ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage, ToolUse

NAME: Final = "bedrock"
# Parts of the ids of models that refuse temperature and the like.
WITHOUT_SAMPLING: Final = ("claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5", "claude-fable-5")
_CHARACTERS_PER_TOKEN: Final = 4
_NO_WORDS: Final = "(nothing was said)"
_NO_ANSWER: Final = "The tool gave no answer."
_CONNECTIONS: Final = 512


@asynccontextmanager
async def open_bedrock(
    *, region: str, endpoint_url: str | None = None, without_sampling: Sequence[str] = WITHOUT_SAMPLING
) -> AsyncIterator["BedrockConverse"]:
    """Credentials come the way every AWS program finds them. Without an `endpoint_url` the region's own is spoken to."""
    # A pooled connection that the server closed shows when it is used: the second attempt opens another one.
    config = AioConfig(
        connect_timeout=2, read_timeout=20, max_pool_connections=_CONNECTIONS, tcp_keepalive=True,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )  # fmt: skip
    async with get_session().create_client("bedrock-runtime", region_name=region, endpoint_url=endpoint_url, config=config) as client:
        yield BedrockConverse(client, without_sampling=without_sampling)


class BedrockConverse:
    """`realtime.ports.LanguageModel` over a client of aiobotocore's."""

    name = NAME
    embedded = False

    def __init__(self, client: Any, *, without_sampling: Sequence[str] = WITHOUT_SAMPLING) -> None:
        self._client = client
        self._without_sampling = tuple(without_sampling)

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        try:
            answer = await self._client.converse_stream(**wire_request(request, self._without_sampling))
            stream = answer["stream"]
            try:
                reply = _Reply(request)
                async for event in stream:
                    for each in reply.take(event):
                        yield each
                yield reply.stopped()
            finally:
                # Also when the task is cancelled: the connection is free at once, and the provider stops writing.
                stream.close()
        except ClientError as cause:
            raise EngineUnavailable(NAME, cause.response.get("Error", {}).get("Code", "refused")) from cause
        except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as cause:
            raise EngineUnavailable(NAME, type(cause).__name__) from cause


class _Reply:
    """Events of one reply, gathered: text passes through, a tool's arguments come in pieces."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._tools: dict[int, tuple[str, str]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._written = 0
        self._reason = ""
        self._usage: TokenUsage | None = None

    def take(self, event: Mapping[str, Any]) -> Iterator[ModelEvent]:
        """Raises EngineUnavailable for tool arguments that are no JSON object."""
        match event:
            case {"contentBlockStart": {"start": {"toolUse": {"toolUseId": use_id, "name": name}}, "contentBlockIndex": index}}:
                self._tools[index] = (use_id, name)
                self._arguments[index] = []
            case {"contentBlockDelta": {"delta": {"text": text}}}:
                self._written += len(text)
                yield TextDelta(text=text)
            case {"contentBlockDelta": {"delta": {"toolUse": {"input": piece}}, "contentBlockIndex": index}}:
                self._written += len(piece)
                self._arguments[index].append(piece)
            case {"contentBlockStop": {"contentBlockIndex": index}} if index in self._tools:
                use_id, name = self._tools.pop(index)
                yield ToolUse(tool_use_id=use_id, name=name, arguments=_object("".join(self._arguments.pop(index))))
            case {"messageStop": {"stopReason": reason}}:
                self._reason = reason
            case {"metadata": {"usage": usage}}:
                self._usage = TokenUsage(
                    input_tokens=usage["inputTokens"], output_tokens=usage["outputTokens"],
                    cache_read_tokens=usage.get("cacheReadInputTokens", 0), cache_write_tokens=usage.get("cacheWriteInputTokens", 0),
                )  # fmt: skip

    def stopped(self) -> ModelStopped:
        """Raises EngineUnavailable where the reply has no end."""
        if not self._reason:
            raise EngineUnavailable(NAME, "the stream ended before the reply did")
        return ModelStopped(reason=self._reason, usage=self._usage or self._estimated())

    def _estimated(self) -> TokenUsage:
        """The end came, its account did not."""
        asked = len(self._request.system) + sum(_characters(message) for message in self._request.messages)
        return TokenUsage(
            input_tokens=-(-asked // _CHARACTERS_PER_TOKEN), output_tokens=-(-self._written // _CHARACTERS_PER_TOKEN), estimated=True
        )


def _characters(message: Message) -> int:
    uses = sum(len(use.name) + len(str(use.arguments)) for use in message.tool_uses)
    return len(message.text) + uses + sum(len(str(outcome.content)) for outcome in message.tool_outcomes)


def _object(text: str) -> Mapping[str, Json]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError as cause:
        raise EngineUnavailable(NAME, "tool arguments that are no JSON") from cause
    if not isinstance(arguments, dict):
        raise EngineUnavailable(NAME, "tool arguments that are no object")
    return arguments


def wire_request(request: ModelRequest, without_sampling: Sequence[str] = WITHOUT_SAMPLING) -> dict[str, Any]:
    """The request as ConverseStream takes it, whatever the context looks like: it refuses more than it says."""
    inference: dict[str, Any] = {"maxTokens": request.max_tokens}
    if request.temperature is not None and not any(part in request.model for part in without_sampling):
        inference["temperature"] = request.temperature
    messages = _messages(request.messages)
    wire: dict[str, Any] = {"modelId": request.model, "messages": messages, "inferenceConfig": inference}
    if request.system.strip():
        wire["system"] = [{"text": request.system}]
    if tools := _tools(request, messages):
        wire["toolConfig"] = {"tools": tools}
    return wire


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


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A user first and last, roles in turn, no blank text, each use of a tool followed by its outcome, no outcome without a use."""
    wire: list[dict[str, Any]] = []
    asked: list[str] = []
    for message in messages:
        if message.role == "assistant":
            blocks = [*_text(message.text), *({"toolUse": _use(use)} for use in message.tool_uses)]
            uses = [use.tool_use_id for use in message.tool_uses]
        else:
            blocks = [*_outcomes(message, asked), *_text(message.text)]
            uses = []
        if not blocks:
            continue
        if asked and message.role == "assistant":
            _add(wire, "user", _outcomes(Message(role="user"), asked))
        if not wire and message.role == "assistant":
            _add(wire, "user", _text(_NO_WORDS))
        _add(wire, message.role, blocks)
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


def _use(use: ToolUse) -> dict[str, Any]:
    return {"toolUseId": use.tool_use_id, "name": use.name, "input": dict(use.arguments)}


def _outcomes(message: Message, asked: Sequence[str]) -> list[Any]:
    given = {outcome.tool_use_id: outcome for outcome in message.tool_outcomes}
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
