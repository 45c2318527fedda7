"""The carrier Twilio: whether a request is truly its own, and how a call is hung up."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from aiohttp import ClientError, encode_basic_auth
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from realtime.ports import EngineUnavailable

NAME: Final = "twilio"
_SECONDS: Final = 4.0
# "Call is not in-progress": it has ended, which is what we wanted.
_NOT_IN_PROGRESS: Final = 21220
_NOT_FOUND: Final = 404


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
        if self._client is None:
            raise EngineUnavailable(NAME, "not open")
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.calls(call_sid).update_async(status="completed")
        except TwilioRestException as cause:
            if cause.status != _NOT_FOUND and cause.code != _NOT_IN_PROGRESS:
                raise EngineUnavailable(NAME, f"{cause.status}, code {cause.code}") from cause
        except (TwilioException, ClientError, OSError, TimeoutError) as cause:
            raise EngineUnavailable(NAME, type(cause).__name__) from cause


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
