"""Amazon Bedrock's Converse, streamed: one warm client for all calls of a process."""

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError, ClientError

from infra.adapters.bedrock.traits import Known, known, traits_of
from infra.adapters.bedrock.wire import CHARACTERS_PER_TOKEN, WITHOUT_SAMPLING, characters, wire_request
from infra.adapters.model_catalogues import read_model_catalogues
from realtime.ports import EngineUnavailable, Json, ModelEvent, ModelRequest, ModelStopped, Reasoning, TextDelta, TokenUsage, ToolUse

NAME: Final = "bedrock"
_CONNECTIONS: Final = 512
# A caller thinks for longer than an idle connection is usually kept; a new one costs two or three round trips before each answer.
_KEPT_SECONDS: Final = 55


@asynccontextmanager
async def open_bedrock(
    *, region: str, endpoint_url: str | None = None, without_sampling: Sequence[str] = WITHOUT_SAMPLING, models: Known | None = None
) -> AsyncIterator["BedrockConverse"]:
    """Credentials come the way every AWS program finds them. Without an `endpoint_url` the region's own is spoken to.

    One client has one TLS context, and a pool of connections for all calls. `models` are the catalogues' unless others are given.
    """
    # A pooled connection that the server closed shows when it is used: the second attempt opens another one.
    config = AioConfig(
        connect_timeout=2, read_timeout=20, max_pool_connections=_CONNECTIONS, tcp_keepalive=True,
        connector_args={"keepalive_timeout": _KEPT_SECONDS}, retries={"total_max_attempts": 2, "mode": "standard"},
    )  # fmt: skip
    async with get_session().create_client("bedrock-runtime", region_name=region, endpoint_url=endpoint_url, config=config) as client:
        traits = known(read_model_catalogues()) if models is None else models
        yield BedrockConverse(client, without_sampling=without_sampling, models=traits)


class BedrockConverse:
    """`realtime.ports.LanguageModel` over a client of aiobotocore's."""

    name = NAME
    embedded = False

    def __init__(self, client: Any, *, without_sampling: Sequence[str] = WITHOUT_SAMPLING, models: Known | None = None) -> None:
        self._client, self._models = client, models or {}
        self._without_sampling = tuple(without_sampling)

    async def converse(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        try:
            wire = wire_request(request, self._without_sampling, traits_of(request.model, self._models))
            answer = await self._client.converse_stream(**wire)
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
        except (BotoCoreError, ParserError, aiohttp.ClientError, OSError, TimeoutError) as cause:
            raise EngineUnavailable(NAME, type(cause).__name__) from cause


class _Reply:
    """Events of one reply, gathered: text passes through, a tool's arguments come in pieces."""

    def __init__(self, request: ModelRequest) -> None:
        self._request = request
        self._tools: dict[int, tuple[str, str]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._thoughts: dict[int, Reasoning] = {}
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
            case {"contentBlockDelta": {"delta": {"reasoningContent": piece}, "contentBlockIndex": index}}:
                self._think(index, piece)
            case {"contentBlockStop": {"contentBlockIndex": index}} if index in self._thoughts:
                yield self._thoughts.pop(index)
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

    def _think(self, index: int, piece: Mapping[str, Any]) -> None:
        so_far = self._thoughts.get(index, Reasoning(model=self._request.model))
        self._written += len(piece.get("text", ""))
        self._thoughts[index] = replace(
            so_far, text=so_far.text + piece.get("text", ""), signature=so_far.signature + piece.get("signature", ""),
            redacted=base64.b64encode(base64.b64decode(so_far.redacted) + piece.get("redactedContent", b"")).decode(),
        )  # fmt: skip

    def stopped(self) -> ModelStopped:
        """Raises EngineUnavailable where the reply has no end."""
        if not self._reason:
            raise EngineUnavailable(NAME, "the stream ended before the reply did")
        return ModelStopped(reason=self._reason, usage=self._usage or self._estimated())

    def _estimated(self) -> TokenUsage:
        """The end came, its account did not."""
        asked = len(self._request.system) + sum(characters(message) for message in self._request.messages)
        return TokenUsage(
            input_tokens=-(-asked // CHARACTERS_PER_TOKEN), output_tokens=-(-self._written // CHARACTERS_PER_TOKEN), estimated=True
        )


def _object(text: str) -> Mapping[str, Json]:
    try:
        arguments = json.loads(text or "{}")
    except ValueError as cause:
        raise EngineUnavailable(NAME, "tool arguments that are no JSON") from cause
    if not isinstance(arguments, dict):
        raise EngineUnavailable(NAME, "tool arguments that are no object")
    return arguments
