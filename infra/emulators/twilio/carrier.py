"""The carrier's part of one call: rings the webhook with signed requests and does what the TwiML says, verb by verb."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import aiohttp
from twilio.request_validator import RequestValidator

from infra.emulators.twilio.caller import FRAME_MS, Caller
from infra.emulators.twilio.media import MediaStream, StreamBroken
from infra.emulators.twilio.playout import SILENCE
from infra.emulators.twilio.twiml import Dial, Hangup, Pause, Redirect, Say, Stream, TwimlRefused, Verb, read_twiml

# The real carrier gives a webhook 15 s, then error 11200.
_WEBHOOK_SECONDS = 15
_MOST_DOCUMENTS = 10
_TOLD = aiohttp.ClientTimeout(total=1.0)
# Whoever does not close the stream with us is left behind.
_CLOSING = aiohttp.ClientWSTimeout(ws_close=2.0)
# From a media stream that broke off to the question what follows: the real carrier takes its time, and the caller hears nothing.
BREAK_MS = 500
_NORMAL_CLOSE, _GOING_AWAY = 1000, 1001


def new_sid(prefix: str) -> str:
    """`CA`, `MZ` and so on with 32 hex digits."""
    return prefix + secrets.token_hex(16)


@dataclass(slots=True, kw_only=True)
class CarrierCall:
    """One call from ring to end. `notes` says in order what happened on the carrier's side."""

    webhook: str
    account_sid: str
    auth_token: str
    number: str
    caller_number: str
    caller: Caller
    to_ear: Callable[[int, bytes, bytes], None]
    call_sid: str = field(default_factory=lambda: new_sid("CA"))
    notes: list[dict[str, Any]] = field(default_factory=list)
    stream: MediaStream | None = None
    leg: tuple[str, ...] = ("initiated", "ringing", "in-progress", "completed")
    """What becomes of a leg that is dialled, in the carrier's words; the last one is its end."""
    telling: Callable[[Sequence[dict[str, str]]], Sequence[dict[str, str]]] = lambda told: told
    """Which callbacks of a leg arrive, and in which order."""
    status_url: str | None = None
    _line_ms: int = 0
    _ended: bool = False
    asks: bool = True
    """Whether it goes on with the document after a media stream that broke off; the callbacks about streams come in any case."""
    _document: str | None = None
    _sent_to: str | None = None

    async def place(self) -> None:
        """Ring, follow the documents until the call ends. Errors of ours and theirs are notes; nothing is raised for them."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_WEBHOOK_SECONDS)) as http:
            url, status = self.webhook, "ringing"
            for _ in range(_MOST_DOCUMENTS):
                verbs = await self._fetch(http, url, status)
                following = await self._follow(http, verbs)
                if following is None:
                    break
                url, status = following, "in-progress"
            self._note("completed")
            if self.status_url is not None:
                await self._post(http, self.status_url, {"CallStatus": "completed", "CallDuration": "1", "SequenceNumber": "0"})

    def redirect(self, document: str) -> None:
        """The carrier's REST side was given another document for the live call: the media stream ends, and it is followed."""
        self._document = document
        if self.stream is not None:
            self.stream.hung_up.set()

    def send(self, url: str) -> None:
        """The carrier's REST side was told where to ask for another document: the media stream ends, whatever its other side does."""
        self._sent_to = url
        if self.stream is not None:
            self.stream.hung_up.set()

    def breaks_off(self) -> None:
        """The network between the carrier and the worker breaks: no closing handshake."""
        if self.stream is not None:
            self.stream.break_off()

    def hang_up_at_once(self) -> None:
        """The caller is gone together with the network: nothing more is told of the call."""
        self._ended = True
        self.breaks_off()

    def hang_up(self) -> None:
        """The carrier's REST side was told to complete the call."""
        self._ended = True
        if self.stream is not None:
            self.stream.hung_up.set()

    async def _follow(self, http: aiohttp.ClientSession, verbs: list[Verb]) -> str | None:
        for verb in verbs:
            if self._ended:
                return None
            match verb:
                case Say(text=text, language=language):
                    self._note("say", text=text, language=language)
                case Pause(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Redirect(url=url):
                    return url
                case Hangup():
                    self._note("hangup")
                    return None
                case Dial():
                    return await self._follow(http, await self._dial(http, verb))
                case Stream():
                    who = await self._connect(http, verb)
                    await self._tell(http, verb)
                    if not self.asks and self._sent_to is None and self._document is None and who == "worker":
                        await self._stands_still()
                    if self._sent_to is not None and not self._ended:
                        url, self._sent_to = self._sent_to, None
                        return url
                    if self._document is not None and not self._ended:
                        document, self._document = self._document, None
                        return await self._follow(http, self._read(document, self.webhook))
                    if who in ("caller", "rest"):
                        return None
        return None

    async def _connect(self, http: aiohttp.ClientSession, verb: Stream) -> str:
        self.stream = MediaStream(
            call_sid=self.call_sid, stream_sid=new_sid("MZ"), account_sid=self.account_sid, parameters=verb.parameters,
            caller=self.caller, to_ear=self.to_ear, began_ms=self._line_ms,
        )  # fmt: skip
        signature = RequestValidator(self.auth_token).compute_signature(verb.url, {})
        try:
            socket = await http.ws_connect(verb.url, headers={"X-Twilio-Signature": signature}, compress=0, timeout=_CLOSING)
        except (aiohttp.ClientError, OSError) as cause:
            self._note("stream-error", code=31921, reason=f"{type(cause).__name__}")
            return "worker"
        self._note("stream-started", stream_sid=self.stream.stream_sid, line_ms=self._line_ms)
        try:
            who = await self.stream.run(socket)
        except StreamBroken as broken:
            self._note("stream-error", code=broken.code, reason=str(broken))
            return "worker"
        finally:
            self._line_ms = self.stream.ended_ms
            for code in self.stream.playout.warnings:
                self._note("stream-warning", code=code)
        self._note("stream-stopped", by=who, close_code=socket.close_code, line_ms=self._line_ms, at=asyncio.get_running_loop().time())
        if who == "worker" and socket.close_code not in (_NORMAL_CLOSE, _GOING_AWAY):
            await self._silence(BREAK_MS)
        return who

    async def _tell(self, http: aiohttp.ClientSession, verb: Stream) -> None:
        if not verb.told_at or self.stream is None:
            return
        form = {
            "CallSid": self.call_sid, "AccountSid": self.account_sid, "StreamSid": self.stream.stream_sid,
            "StreamEvent": "stream-stopped", "Timestamp": formatdate(usegmt=True),
        }  # fmt: skip
        if (last := self.notes[-1])["event"] == "stream-error":
            form |= {"StreamEvent": "stream-error", "StreamError": str(last["reason"])}
        signature = RequestValidator(self.auth_token).compute_signature(verb.told_at, form)
        # It is told once; nothing waits for an answer that does not come.
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            await http.post(verb.told_at, data=form, headers={"X-Twilio-Signature": signature}, timeout=_TOLD)

    async def _stands_still(self) -> None:
        """The line is open, and nothing happens on it before somebody is told to."""
        while self._sent_to is None and not self._ended:
            await self._silence(FRAME_MS)

    async def _silence(self, duration_ms: int) -> None:
        """The line without a media stream: the caller hears nothing, and nobody hears the caller."""
        loop = asyncio.get_running_loop()
        began, ticks = loop.time(), duration_ms // FRAME_MS
        for tick in range(ticks):
            await asyncio.sleep(max(0.0, began + (tick + 1) * FRAME_MS / 1000 - loop.time()))
            self.to_ear(self._line_ms, self.caller.tick(self._line_ms, None), SILENCE)
            self._line_ms += FRAME_MS

    async def _dial(self, http: aiohttp.ClientSession, verb: Dial) -> list[Verb]:
        """Dial, tell of the leg, and ask what follows when it is over."""
        leg_sid, wanted = new_sid("CA"), {"initiated", "ringing", "in-progress"} if "answered" in verb.events else {"initiated", "ringing"}
        self._note("dialled", number=verb.number, leg_sid=leg_sid)
        told = [
            {"CallSid": leg_sid, "ParentCallSid": self.call_sid, "CallStatus": status, "SequenceNumber": str(at), "To": verb.number,
             "Timestamp": formatdate(usegmt=True), "CallbackSource": "call-progress-events",
             **({"CallDuration": "7"} if at == len(self.leg) - 1 else {})}
            for at, status in enumerate(self.leg)
            if status in wanted or (at == len(self.leg) - 1 and "completed" in verb.events)
        ]  # fmt: skip
        if verb.told_at:
            for form in self.telling(told):
                await self._post(http, verb.told_at, form)
        dialled = {"DialCallSid": leg_sid, "DialCallStatus": self.leg[-1], "DialCallDuration": "7"}
        return self._read(await self._post(http, verb.action, dialled), verb.action)

    async def _post(self, http: aiohttp.ClientSession, url: str, more: dict[str, str]) -> str:
        form = {"CallSid": self.call_sid, "AccountSid": self.account_sid, "From": self.caller_number, "To": self.number, **more}
        signature = RequestValidator(self.auth_token).compute_signature(url, form)
        async with http.post(url, data=form, headers={"X-Twilio-Signature": signature, "User-Agent": "TwilioProxy/1.1"}) as answer:
            self._note("callback", url=url, status=answer.status, call_status=more.get("CallStatus", more.get("DialCallStatus")))
            return await answer.text()

    async def _fetch(self, http: aiohttp.ClientSession, url: str, status: str) -> list[Verb]:
        form = {
            "CallSid": self.call_sid, "AccountSid": self.account_sid, "From": self.caller_number, "To": self.number,
            "CallStatus": status, "ApiVersion": "2010-04-01", "Direction": "inbound", "Caller": self.caller_number, "Called": self.number,
        }  # fmt: skip
        signature = RequestValidator(self.auth_token).compute_signature(url, form)
        try:
            async with http.post(url, data=form, headers={"X-Twilio-Signature": signature, "User-Agent": "TwilioProxy/1.1"}) as answer:
                document = await answer.text()
                if answer.status != 200:
                    self._note("webhook-error", code=11200, status=answer.status)
                    return []
        except (aiohttp.ClientError, OSError, TimeoutError) as cause:
            self._note("webhook-error", code=11200, reason=type(cause).__name__)
            return []
        return self._read(document, url)

    def _read(self, document: str, url: str) -> list[Verb]:
        try:
            verbs = read_twiml(document, url)
        except TwimlRefused as refused:
            self._note("twiml-error", code=refused.code, reason=str(refused))
            return []
        self._note("document", verbs=[type(verb).__name__ for verb in verbs])
        return verbs

    def _note(self, what: str, **more: Any) -> None:
        self.notes.append({"event": what, **more})
