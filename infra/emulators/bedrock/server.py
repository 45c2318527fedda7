"""An emulator of Bedrock's runtime: ConverseStream over HTTP as the SDKs speak it, with a mind of our own and faults on demand."""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from ssl import SSLContext
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from aiohttp import web

from infra.adapters.bedrock.traits import known, traits_of
from infra.adapters.model_catalogues import read_model_catalogues
from infra.emulators.bedrock import reasoning
from infra.emulators.bedrock.caching import PromptCache
from infra.emulators.bedrock.framing import CONTENT_TYPE, event, exception
from infra.emulators.bedrock.validation import Refused, read_request
from realtime.ports import LanguageModel, ModelEvent, ModelRequest, ModelStopped, TextDelta, ToolUse

_PIECE: Final = 12
# By the service's own description (botocore's bedrock-runtime): what refuses a request, and what ends a stream.
_REFUSALS: Final = {
    "AccessDeniedException": 403, "InternalServerException": 500, "ModelErrorException": 424, "ModelNotReadyException": 429,
    "ModelTimeoutException": 408, "ResourceNotFoundException": 404, "ServiceUnavailableException": 503, "ThrottlingException": 429,
    "ValidationException": 400,
}  # fmt: skip
_EXCEPTIONS: Final = frozenset(
    {"internalServerException", "modelStreamErrorException", "serviceUnavailableException", "throttlingException", "validationException"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The request is answered with an error: `ThrottlingException` with 429, and the like, as the service has them."""

    status: int = 429
    code: str = "ThrottlingException"

    def __post_init__(self) -> None:
        if _REFUSALS.get(self.code) != self.status:
            raise ValueError(f"the service answers {self.code} with {_REFUSALS.get(self.code)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """After so many text deltas an exception event ends the stream; `kind` is one that the service has there."""

    after: int = 0
    kind: str = "modelStreamErrorException"

    def __post_init__(self) -> None:
        if self.kind not in _EXCEPTIONS:
            raise ValueError(f"the service breaks off with one of {', '.join(sorted(_EXCEPTIONS))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Closes:
    """After so many text deltas the connection is gone; `account`: only the last event, the account of tokens, does not come."""

    after: int = 0
    account: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbles:
    """After so many text deltas a frame's checksum is wrong."""

    after: int = 0


Fault: TypeAlias = Rejected | Breaks | Closes | Garbles | None


class BedrockEmulator:
    """One fault of the plan for each request, in order; none when the plan is over. `requests` keeps what passed the checks.

    It thinks where it is asked to, in sealed boxes if it `redacts`, and has a prompt cache.
    """

    def __init__(
        self, mind: LanguageModel, *, faults: Iterable[Fault] = (), without_sampling: Sequence[str] = (), redacts: bool = False
    ) -> None:
        self.requests: list[ModelRequest] = []
        self.streaming = 0
        self.abandoned = 0
        self._mind, self._faults, self._without_sampling = mind, deque(faults), tuple(without_sampling)
        self._cache, self._models, self._redacts = PromptCache(), known(read_model_catalogues()), redacts

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0, tls: SSLContext | None = None) -> AsyncIterator[str]:
        """Listens within; gives the endpoint's URL."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_post("/model/{model}/converse-stream", self._converse)
        # A caller who interrupts closes the connection: nobody goes on thinking for them.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, ssl_context=tls)
            await site.start()
            yield f"{'http' if tls is None else 'https'}://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _converse(self, request: web.Request) -> web.StreamResponse:
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
            return _error(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        fault = self._faults.popleft() if self._faults else None
        if isinstance(fault, Rejected):
            return _error(fault.status, fault.code, "Too many requests, please wait before trying again.")
        try:
            body = json.loads(await request.read())
            question = read_request(unquote(request.match_info["model"]), body, self._without_sampling)
        except Refused as cause:
            return _error(400, "ValidationException", str(cause))
        except (KeyError, TypeError, ValueError) as cause:
            return _error(400, "SerializationException", type(cause).__name__)
        self.requests.append(question)
        self.streaming += 1
        try:
            response = await self._stream(request, question, body, fault)
        except (ConnectionResetError, asyncio.CancelledError):
            self.abandoned += 1
            raise
        finally:
            self.streaming -= 1
        return response

    async def _stream(self, request: web.Request, question: ModelRequest, body: Mapping[str, Any], fault: Fault) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": secrets.token_hex(16)})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(event("messageStart", {"role": "assistant"}))
        deltas, thought = 0, ""
        if question.thinking_tokens:
            thought = f"The caller says: {question.messages[-1].text}"
            for frame in reasoning.frames(thought, 0, redacted=self._redacts):
                await response.write(frame)
        reply = self._counted(self._mind.converse(question), question, body, thought)
        async for frames, is_text in _frames(reply, 1 if thought else 0):
            if isinstance(fault, Breaks | Closes) and not (isinstance(fault, Closes) and fault.account) and deltas >= fault.after:
                if isinstance(fault, Breaks):
                    await response.write(exception(fault.kind, "The model could not go on."))
                    break
                _close(request)
                return response
            for frame in frames:
                if isinstance(fault, Closes) and b"metadata" in frame[:64]:
                    continue
                garbled = isinstance(fault, Garbles) and deltas >= fault.after
                await response.write(frame[:-1] + bytes([frame[-1] ^ 1]) if garbled else frame)
            deltas += is_text
        with suppress(ConnectionResetError):
            await response.write_eof()
        return response

    async def _counted(
        self, reply: AsyncIterator[ModelEvent], question: ModelRequest, body: Mapping[str, Any], thought: str
    ) -> AsyncIterator[ModelEvent]:
        """The reply with the account that a service with a cache gives of it; thoughts are written tokens as well."""
        async for step in reply:
            if not isinstance(step, ModelStopped):
                yield step
                continue
            minimum, now = traits_of(question.model, self._models).cache_minimum_tokens, asyncio.get_running_loop().time()
            counted = self._cache.count(question.model, body, step.usage.input_tokens, minimum=minimum, now=now)
            usage = replace(
                step.usage, input_tokens=counted.fresh, cache_read_tokens=counted.read, cache_write_tokens=counted.written,
                output_tokens=step.usage.output_tokens + len(thought) // 4,
            )  # fmt: skip
            yield replace(step, usage=usage)


async def _frames(reply: AsyncIterator[ModelEvent], block: int) -> AsyncIterator[tuple[list[bytes], bool]]:
    """The frames of each step of a reply, from that block on, and whether it was a piece of text."""
    in_text = False
    async for step in reply:
        match step:
            case TextDelta(text=text):
                in_text = True
                yield [event("contentBlockDelta", {"delta": {"text": text}, "contentBlockIndex": block, "p": "abcdefgh"})], True
            case ToolUse():
                frames = [event("contentBlockStop", {"contentBlockIndex": block})] if in_text else []
                block, in_text = block + in_text, False
                yield [*frames, *_tool_use(step, block)], False
                block += 1
            case ModelStopped(reason=reason, usage=usage):
                frames = [event("contentBlockStop", {"contentBlockIndex": block})] if in_text else []
                counted = {
                    "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens,
                    "totalTokens": usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
                    "cacheReadInputTokens": usage.cache_read_tokens,
                    "cacheWriteInputTokens": usage.cache_write_tokens,
                }  # fmt: skip
                frames.append(event("messageStop", {"stopReason": reason}))
                yield [*frames, event("metadata", {"usage": counted, "metrics": {"latencyMs": 1}})], False


def _tool_use(use: ToolUse, block: int) -> list[bytes]:
    arguments = json.dumps(dict(use.arguments))
    pieces = [arguments[at : at + _PIECE] for at in range(0, len(arguments), _PIECE)]
    start: dict[str, Any] = {"start": {"toolUse": {"toolUseId": use.tool_use_id, "name": use.name}}, "contentBlockIndex": block}
    deltas = [event("contentBlockDelta", {"delta": {"toolUse": {"input": piece}}, "contentBlockIndex": block}) for piece in pieces]
    return [event("contentBlockStart", start), *deltas, event("contentBlockStop", {"contentBlockIndex": block})]


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _error(status: int, code: str, message: str) -> web.Response:
    headers = {
        "x-amzn-ErrorType": f"{code}:http://internal.amazon.com/coral/com.amazon.bedrock/",
        "x-amzn-RequestId": secrets.token_hex(16),
    }
    return web.json_response({"message": message}, status=status, headers=headers)
