"""An emulator of Amazon Polly's SynthesizeSpeech, strict about signature, limits and what each voice can; with faults on demand.

Sources: docs.aws.amazon.com/polly/latest/dg (API_SynthesizeSpeech, limits, neural-voices) and botocore's description of the service.
"""

import asyncio
import hashlib
import hmac
import json
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from aiohttp import web

from infra.adapters.flite import say, sentences
from infra.emulators import sigv4
from realtime.audio import RATE_HZ, decode
from realtime.ports import EngineUnavailable

# Of the voices there are some, with the engines that they have and the voice of ours that speaks for them.
_VOICES: Final[Mapping[str, tuple[frozenset[str], str]]] = {
    name: (frozenset(engines.split()), own)
    for name, engines, own in (
        ("Joanna", "standard neural generative", "slt"), ("Matthew", "standard neural generative", "rms"),
        ("Ruth", "neural generative long-form", "slt"), ("Ivy", "standard neural", "slt"), ("Penelope", "standard", "slt"),
        ("Lupe", "standard neural generative", "slt"), ("Vicki", "standard neural generative", "slt"),
        ("Lea", "standard neural generative", "slt"), ("Bianca", "standard neural generative", "slt"), ("Kazuha", "neural", "slt"),
        ("Laura", "neural", "slt"), ("Camila", "standard neural", "slt"),
    )
}  # fmt: skip
_KNOWN: Final = frozenset(
    {"Engine", "LanguageCode", "LexiconNames", "OutputFormat", "SampleRate", "SpeechMarkTypes", "Text", "TextType", "VoiceId"}
)
_REQUIRED: Final = ("OutputFormat", "Text", "VoiceId")
_ENGINES: Final = frozenset({"standard", "neural", "long-form", "generative"})
_RATES: Final = frozenset({"8000", "16000"})
_LONGEST: Final = 3000
# Neural voices: 8 requests a second, bursts of 10, and 18 of them at once.
_A_SECOND, _BURST, _AT_ONCE = 8.0, 10.0, 18
_CHUNK_BYTES: Final = 2 * RATE_HZ // 10
_CHUNK_SECONDS: Final = 0.004
# Without these under the signature somebody on the way could change what is meant.
_MUST_BE_SIGNED: Final = {"content-type", "host", "x-amz-date"}


class _Refused(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The request is answered with an error of the service's."""

    code: str = "ThrottlingException"
    status: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """The connection is gone after so many bytes of sound."""

    after_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangs:
    """After so many bytes nothing more comes, and the connection stays."""

    after_bytes: int


Fault: TypeAlias = Rejected | Breaks | Hangs | None


@dataclass(slots=True, kw_only=True)
class PollyEmulator:
    """One fault of the plan for each request, in order; none when the plan is over. `said` are the texts that passed the checks."""

    access_key: str
    secret_key: str
    region: str = "us-east-1"
    faults: Iterable[Fault] = ()
    said: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    streaming: int = 0
    _plan: deque[Fault] = field(default_factory=deque)
    _left: float = _BURST
    _left_at: float = 0.0

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listens within; gives the endpoint's URL."""
        self._plan = deque(self.faults)
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/v1/speech", self._synthesize)
        # Who lets go of a text has its connection closed: nobody goes on speaking it.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield f"http://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _synthesize(self, request: web.Request) -> web.StreamResponse:
        fault = self._plan.popleft() if self._plan else None
        body = await request.read()
        try:
            self._authorise(request, body)
            self._throttle(fault)
            text, voice = _checked(body)
        except _Refused as refused:
            self.refusals.append(refused.code)
            headers = {"x-amzn-ErrorType": refused.code, "x-amzn-RequestId": str(uuid.uuid4())}
            return web.json_response({"message": str(refused)}, status=refused.status, headers=headers)
        self.said.append((voice, text))
        self.streaming += 1
        try:
            return await self._speak(request, text, voice, fault)
        finally:
            self.streaming -= 1

    async def _speak(self, request: web.Request, text: str, voice: str, fault: Fault) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "audio/pcm", "x-amzn-RequestCharacters": str(len(text)), "x-amzn-RequestId": str(uuid.uuid4())}
        )
        response.enable_chunked_encoding()
        sent = 0
        for sentence in sentences(text):
            try:
                pcm = decode(await say(sentence, voice=_VOICES[voice][1])).astype(np.dtype("<i2")).tobytes()
            except EngineUnavailable as cause:
                raise web.HTTPInternalServerError(headers={"x-amzn-ErrorType": "ServiceFailureException"}) from cause
            if not response.prepared:
                await response.prepare(request)
            for at in range(0, len(pcm), _CHUNK_BYTES):
                # Pieces of an odd length: samples are not kept together on the way.
                piece = pcm[at : at + _CHUNK_BYTES - 1], pcm[at + _CHUNK_BYTES - 1 : at + _CHUNK_BYTES]
                for part in piece:
                    await response.write(part) if part else None
                sent += sum(map(len, piece))
                if isinstance(fault, Breaks) and sent >= fault.after_bytes and request.transport is not None:
                    request.transport.close()
                    return response
                if isinstance(fault, Hangs) and sent >= fault.after_bytes:
                    await asyncio.Event().wait()
                await asyncio.sleep(_CHUNK_SECONDS)
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response

    def _throttle(self, fault: Fault) -> None:
        if isinstance(fault, Rejected):
            raise _Refused(fault.code, "Refused by plan.", fault.status)
        now = asyncio.get_running_loop().time()
        self._left = min(_BURST, self._left + (now - self._left_at) * _A_SECOND)
        self._left_at = now
        if self._left < 1 or self.streaming >= _AT_ONCE:
            raise _Refused("ThrottlingException", "Rate exceeded")
        self._left -= 1

    def _authorise(self, request: web.Request, body: bytes) -> None:
        given = sigv4.authorization(request)
        if given is None:
            raise _Refused("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
        if (given["key"], given["region"], given["service"]) != (self.access_key, self.region, "polly"):
            raise _Refused("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
        if not set(given["signed"].split(";")) >= _MUST_BE_SIGNED:
            raise _Refused("IncompleteSignatureException", "Not everything that must be signed was", 400)
        if not hmac.compare_digest(sigv4.signature(request, given, hashlib.sha256(body).hexdigest(), self.secret_key), given["signature"]):
            raise _Refused(
                "InvalidSignatureException", "The request signature we calculated does not match the signature you provided.", 403
            )


def _checked(body: bytes) -> tuple[str, str]:
    """The text and the voice. Raises _Refused."""
    try:
        order: dict[str, Any] = json.loads(body)
    except ValueError as cause:
        raise _Refused("SerializationException", "the body is no JSON") from cause
    unknown = sorted(order.keys() - _KNOWN)
    missing = [name for name in _REQUIRED if name not in order]
    if unknown or missing:
        raise _Refused("ValidationException", f"unknown: {', '.join(unknown)}; missing: {', '.join(missing)}")
    text, voice, engine = order["Text"], order["VoiceId"], order.get("Engine", "standard")
    if engine not in _ENGINES or voice not in _VOICES or not isinstance(text, str):
        raise _Refused("ValidationException", "Value at 'engine', 'voiceId' or 'text' failed to satisfy constraint")
    if engine not in _VOICES[voice][0]:
        raise _Refused("EngineNotSupportedException", f"This voice does not support the selected engine: {engine}")
    if order["OutputFormat"] != "pcm":
        raise _Refused("ValidationException", "this emulator speaks pcm alone")
    if order.get("SampleRate", "16000") not in _RATES:
        raise _Refused("InvalidSampleRateException", "The specified sample rate is not valid: 8000 and 16000 are, of pcm")
    if order.get("SampleRate") != str(RATE_HZ):
        raise _Refused("ValidationException", "this emulator speaks 8000 samples a second alone")
    if order.get("TextType", "text") != "text":
        raise _Refused("InvalidSsmlException", "this emulator reads plain text alone")
    if order.get("SpeechMarkTypes"):
        raise _Refused("MarksNotSupportedForFormatException", "Speech marks are not supported for the OutputFormat selected")
    if len(text) > _LONGEST:
        raise _Refused("TextLengthExceededException", "Maximum text length has been exceeded")
    return text, voice
