"""The carrier Twilio: whether a request is truly its own, how a call is hung up or put through, and how it stands."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

from aiohttp import ClientError, encode_basic_auth
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.twiml.voice_response import VoiceResponse

from realtime.ports import EngineUnavailable, TransferRefused

NAME: Final = "twilio"
_SECONDS: Final = 4.0
# "Call is not in-progress": it has ended, which is what we wanted.
_NOT_IN_PROGRESS: Final = 21220
_NOT_FOUND: Final = 404
_BAD_REQUEST: Final = 400
_LEG_EVENTS: Final = "initiated ringing answered completed"
_RINGS_SECONDS: Final = 30
_MOST_NUMBERS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """Where a number of the account's rings. Of the number itself only its last digits are told."""

    ending: str
    voice_url: str
    voice_method: str
    status_callback: str


class SignatureCheck:
    """Tells whether Twilio signed a request: `(url, form, signature)`, where `url` is the public address as Twilio wrote it.

    For a request without a form, such as the opening of a media stream, `form` is empty. Source: Twilio, "Webhooks security".
    """

    def __init__(self, auth_token: str) -> None:
        self._validator = RequestValidator(auth_token)

    def __call__(self, url: str, form: Mapping[str, str], signature: str) -> bool:
        return bool(self._validator.validate(url, dict(form), signature))


class TwilioTelephony:
    """`realtime.ports.Telephony` by the SDK. An async context manager: one warm session while it is open.

    `base_url` replaces the scheme and host of every address that the SDK makes, and nothing else of them.
    """

    def __init__(self, account_sid: str, auth_token: str, *, base_url: str | None = None) -> None:
        self._account_sid, self._auth_token, self._base_url = account_sid, auth_token, base_url
        self._http: _Http | None = None
        self._client: Any = None

    async def __aenter__(self) -> Self:
        # The session that the SDK opens belongs to the running loop.
        self._http = _Http(self._base_url)
        self._client = Client(self._account_sid, self._auth_token, http_client=self._http)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()
        self._http = self._client = None

    async def hang_up(self, call_sid: str) -> None:
        """End the carrier's call."""
        try:
            await self._asked(lambda client: client.calls(call_sid).update_async(status="completed"))
        except TwilioRestException as cause:
            if cause.status != _NOT_FOUND and cause.code != _NOT_IN_PROGRESS:
                raise EngineUnavailable(NAME, f"{cause.status}, code {cause.code}") from cause

    async def transfer(self, call_sid: str, number: str, *, told_at: str) -> None:
        """Give the live call another document: it dials, and tells of the leg, and of its end, at `told_at`."""
        try:
            await self._asked(lambda client: client.calls(call_sid).update_async(twiml=transfer_document(number, told_at)))
        except TwilioRestException as cause:
            if cause.status == _NOT_FOUND or cause.code == _NOT_IN_PROGRESS:
                raise TransferRefused("call-not-in-progress") from cause
            if cause.status == _BAD_REQUEST:
                raise TransferRefused(f"carrier-error-{cause.code}") from cause
            raise EngineUnavailable(NAME, f"{cause.status}, code {cause.code}") from cause

    async def move(self, call_sid: str, url: str) -> bool:
        """Have the live call ask at `url` for its next document. False where it is over. Raises EngineUnavailable."""
        try:
            await self._asked(lambda client: client.calls(call_sid).update_async(url=url, method="POST"))
        except TwilioRestException as cause:
            if cause.status == _NOT_FOUND or cause.code == _NOT_IN_PROGRESS:
                return False
            raise EngineUnavailable(NAME, f"{cause.status}, code {cause.code}") from cause
        return True

    async def standing(self, call_sid: str) -> str | None:
        """The call's state in the carrier's words (`in-progress`, `completed`, …); None where it knows no such call."""
        try:
            return str((await self._asked(lambda client: client.calls(call_sid).fetch_async())).status)
        except TwilioRestException as cause:
            if cause.status == _NOT_FOUND:
                return None
            raise EngineUnavailable(NAME, f"{cause.status}, code {cause.code}") from cause

    async def account_status(self) -> str:
        """`active`, `suspended` or `closed`. Raises EngineUnavailable."""
        return str((await self._told(lambda client: client.api.v2010.accounts(self._account_sid).fetch_async())).status)

    async def numbers(self) -> Sequence[Number]:
        """The account's numbers, the first hundred. Raises EngineUnavailable."""
        found = await self._told(lambda client: client.incoming_phone_numbers.list_async(limit=_MOST_NUMBERS))
        return [
            Number(
                ending=str(each.phone_number)[-4:], voice_url=each.voice_url or "", voice_method=each.voice_method or "",
                status_callback=each.status_callback or "",
            )
            for each in found
        ]  # fmt: skip

    async def _told(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        try:
            return await self._asked(question)
        except TwilioRestException as cause:
            raise EngineUnavailable(NAME, f"{cause.status}, code {cause.code}") from cause

    async def _asked(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        if self._client is None:
            raise EngineUnavailable(NAME, "not open")
        try:
            async with asyncio.timeout(_SECONDS):
                return await question(self._client)
        except TwilioRestException:
            raise
        except (TwilioException, ClientError, OSError, TimeoutError) as cause:
            raise EngineUnavailable(NAME, type(cause).__name__) from cause


def transfer_document(number: str, told_at: str) -> str:
    """TwiML that puts the caller through, the carrier's own ringing to be heard until someone answers."""
    document = VoiceResponse()
    dial = document.dial(action=told_at, method="POST", timeout=_RINGS_SECONDS)
    dial.number(number, status_callback=told_at, status_callback_event=_LEG_EVENTS, status_callback_method="POST")
    return str(document)


class _Http(AsyncTwilioHttpClient):  # type: ignore[misc]  # the SDK has no types
    def __init__(self, base_url: str | None) -> None:
        super().__init__()
        self._base_url = base_url

    async def request(
        self, method: str, url: str, params: Any = None, data: Any = None, headers: Any = None, auth: Any = None, *_: object, **__: object
    ) -> Any:  # fmt: skip
        """Send a request of the SDK's, its credentials in a header: the session's own way is announced to go."""
        if auth is not None:
            headers = {**(headers or {}), "Authorization": encode_basic_auth(*auth)}
        return await super().request(method, self._rebased(url), params, data, headers)

    def _rebased(self, url: str) -> str:
        if self._base_url is None:
            return url
        parts = urlsplit(url)
        return self._base_url.rstrip("/") + parts.path + (f"?{parts.query}" if parts.query else "")
