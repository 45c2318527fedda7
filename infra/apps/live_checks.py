"""What must be true of the accounts that calls are made with: keys, the carrier's idea of our address, its certificate, and the models."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
import httpx
from deepgram.core.api_error import ApiError

from commands.model_catalogue import catalogue_in_force, resolve
from infra.adapters.bedrock.converse import open_bedrock
from infra.adapters.deepgram.connecting import deepgram_client
from infra.adapters.model_catalogues import read_model_catalogues
from infra.adapters.polly import open_polly
from infra.adapters.twilio import TwilioTelephony
from infra.local.checks import Finding
from infra.settings import Settings
from realtime.ports import EngineFailed, EngineUnavailable, Message, ModelRequest, VoiceAudio, VoiceFlushed

_SECONDS = 10.0
_FORBIDDEN, _UNAUTHORISED = 403, (401, 403)
_SOON_DAYS = 14
_NO_KEY = "no key is set"


async def examine_live(settings: Settings, trust: ssl.SSLContext | None = None) -> list[Finding]:
    """Each account asked once, at the least cost there is. `trust`: whose certificates count, if not the machine's authorities'."""
    found: list[Finding] = []
    for part in (_twilio(settings), _public_address(settings, trust), _deepgram(settings), _bedrock(settings), _polly(settings)):
        found += [finding async for finding in part]
    return found


def _well(about: str, words: str) -> Finding:
    return Finding(about=about, state="well", words=words)


def _wrong(about: str, words: str, remedy: str) -> Finding:
    return Finding(about=about, state="wrong", words=words, remedy=remedy)


async def _twilio(settings: Settings) -> AsyncIterator[Finding]:
    if settings.twilio_account_sid is None or settings.twilio_auth_token is None:
        yield _wrong("twilio", _NO_KEY, "Set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.")
        return
    token = settings.twilio_auth_token.get_secret_value()
    try:
        async with TwilioTelephony(settings.twilio_account_sid, token, base_url=settings.twilio_api_base_url) as carrier:
            status, numbers = await carrier.account_status(), await carrier.numbers()
    except EngineUnavailable as cause:
        yield _wrong("twilio", f"the account does not answer to its key: {cause}", "Check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.")
        return
    if status == "active":
        yield _well("twilio", f"the account is {status}")
    else:
        yield _wrong("twilio", f"the account is {status}", "Have the account activated at Twilio.")
    if settings.public_url is None:
        return
    base = settings.public_url.rstrip("/")
    ours = [number for number in numbers if number.voice_url == f"{base}/twilio/voice" and number.voice_method == "POST"]
    if not ours:
        remedy = f"Set a number's voice URL to {base}/twilio/voice with POST."
        yield _wrong("twilio numbers", f"none of the account's {len(numbers)} numbers rings here", remedy)
    for number in ours:
        told = number.status_callback == f"{base}/twilio/status"
        yield Finding(
            about=f"twilio number …{number.ending}", state="well" if told else "doubtful",
            words="rings here" + ("" if told else ", and does not tell of its calls' ends"),
            remedy=None if told else f"Set its status callback to {base}/twilio/status.",
        )  # fmt: skip


async def _public_address(settings: Settings, trust: ssl.SSLContext | None) -> AsyncIterator[Finding]:
    if settings.public_url is None:
        yield _wrong("public address", "none is set", "Set AYBIZA_PUBLIC_URL to the https address that the carrier is to reach.")
        return
    parts = urlsplit(settings.public_url)
    if parts.scheme != "https":
        yield _wrong("public address", f"{settings.public_url} is not https", "Put TLS before it: media streams need wss.")
        return
    context = trust or ssl.create_default_context()
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context, server_hostname=parts.hostname)
    except ssl.SSLCertVerificationError as cause:
        yield _wrong("certificate", f"the carrier will not trust it: {cause.verify_message}", "Serve a valid chain for this name.")
        return
    except (OSError, TimeoutError) as cause:
        yield _wrong("public address", f"it does not answer: {type(cause).__name__}", f"Have {settings.public_url} lead to this platform.")
        return
    until = writer.get_extra_info("ssl_object").getpeercert()["notAfter"]
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    left = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC) - datetime.now(UTC)
    if left.days < _SOON_DAYS:
        yield Finding(about="certificate", state="doubtful", words=f"it ends in {left.days} days", remedy="Renew it.")
    else:
        yield _well("certificate", f"trusted, for {left.days} days more")
    yield await _webhook(settings.public_url.rstrip("/"), context)


async def _webhook(base: str, context: ssl.SSLContext) -> Finding:
    """An unsigned ring must be refused, in the words in which we refuse."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as http,
            http.post(f"{base}/twilio/voice", data={"CallSid": "none"}, ssl=context) as answer,
        ):
            status, words = answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError) as cause:
        return _wrong("webhook", f"it does not answer: {type(cause).__name__}", "Start a voice worker behind the public address.")
    if status == _FORBIDDEN and "signature" in words:
        return _well("webhook", "answers, and refuses what the carrier has not signed")
    return _wrong("webhook", f"an unsigned ring is answered with {status}", "Have the public address lead to a voice worker.")


async def _deepgram(settings: Settings) -> AsyncIterator[Finding]:
    if settings.deepgram_api_key is None:
        yield _wrong("deepgram", _NO_KEY, "Set DEEPGRAM_API_KEY.")
        return
    try:
        # Of its own, so that it can be closed: the SDK keeps the one that it makes for as long as the process.
        async with asyncio.timeout(_SECONDS), httpx.AsyncClient() as http:
            client = deepgram_client(settings.deepgram_api_key.get_secret_value(), settings.deepgram_base_url, http)
            projects = (await client.manage.v1.projects.list()).projects or []
    except ApiError as cause:
        refused = cause.status_code in _UNAUTHORISED
        words = "the key opens nothing" if refused else f"it answers with {cause.status_code}"
        yield _wrong("deepgram", words, "Check DEEPGRAM_API_KEY." if refused else "Look at status.deepgram.com.")
    except (httpx.HTTPError, OSError, TimeoutError) as cause:
        yield _wrong("deepgram", f"it does not answer: {type(cause).__name__}", "Check the way to api.deepgram.com.")
    else:
        yield _well("deepgram", f"the key opens {len(projects)} project{'s' if len(projects) != 1 else ''}")


async def _bedrock(settings: Settings) -> AsyncIterator[Finding]:
    catalogue = catalogue_in_force(read_model_catalogues(), datetime.now(UTC).date())
    pinned = {str(tier): name for tier, name in settings.bedrock_models.items()}
    models = resolve(catalogue, {}, region=settings.bedrock_region, pinned=pinned).models
    async with open_bedrock(region=settings.bedrock_region, endpoint_url=settings.bedrock_endpoint_url) as bedrock:
        for model in sorted(set(models.values())):
            tiers = ", ".join(sorted(tier for tier, name in models.items() if name == model))
            request = ModelRequest(
                model=model, system="Answer in one word.", messages=(Message(role="user", text="Say yes."),), tools=(), max_tokens=16,
                temperature=None,
            )  # fmt: skip
            try:
                async with asyncio.timeout(_SECONDS):
                    async for _ in bedrock.converse(request):
                        pass
            except (EngineUnavailable, TimeoutError) as cause:
                remedy = f"Ask for access to it in Bedrock's console, region {settings.bedrock_region}, or check the AWS credentials."
                yield _wrong(f"bedrock {tiers}", f"{model} does not answer: {cause}", remedy)
            else:
                yield _well(f"bedrock {tiers}", f"{model} answers")


async def _polly(settings: Settings) -> AsyncIterator[Finding]:
    """One word from the voice that stands in; nothing where nobody wants it to."""
    if settings.second_voice == "none":
        return
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def listen(delivered: VoiceAudio | VoiceFlushed | EngineFailed) -> None:
        if not isinstance(delivered, VoiceAudio) and not told.done():
            told.set_result(delivered.reason if isinstance(delivered, EngineFailed) else "")

    region = settings.polly_region or settings.bedrock_region
    async with open_polly(region=region, endpoint_url=settings.polly_endpoint_url, voices=settings.polly_voices) as polly:
        stream = await polly.connect(voice="", listener=listen)
        try:
            stream.speak(1, "Yes.", flush=True)
            async with asyncio.timeout(_SECONDS):
                fault = await told
        except TimeoutError:
            fault = "nothing in time"
        finally:
            await stream.close()
    if fault:
        remedy = f"Allow polly:SynthesizeSpeech in {region} to the AWS credentials, or set AYBIZA_SECOND_VOICE=none."
        yield _wrong("polly", f"the second voice does not speak: {fault}", remedy)
    else:
        yield _well("polly", "the second voice speaks")
