"""An emulator of Twilio's REST control of live calls: reading one, ending it, and giving it another document."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import encode_basic_auth, web

_PATH: Final = "/2010-04-01/Accounts/{account}/Calls/{call}.json"
_ACCOUNT: Final = "/2010-04-01/Accounts/{account}.json"
_NUMBERS: Final = "/2010-04-01/Accounts/{account}/IncomingPhoneNumbers.json"
_CALL_SID: Final = re.compile(r"CA[0-9a-f]{32}\Z")
_LONGEST_DOCUMENT: Final = 4000
_FORM: Final = "application/x-www-form-urlencoded"


class TwilioRestEmulator:
    """Knows the calls that it was told of. `completed` is called once for each that is ended from here, `redirected` with a document,
    `sent` with the address at which another one is to be asked for.
    """

    def __init__(
        self, account_sid: str, auth_token: str, completed: Callable[[str], None],
        redirected: Callable[[str, str], None] | None = None, sent: Callable[[str, str], None] | None = None,
    ) -> None:  # fmt: skip
        self._account_sid, self._auth_token, self._completed, self._redirected = account_sid, auth_token, completed, redirected
        self._sent = sent
        self._status: dict[str, str] = {}
        self.account = "active"
        self.numbers: list[dict[str, str]] = []

    def begin(self, call_sid: str) -> None:
        """A call is under way."""
        self._status[call_sid] = "in-progress"

    def end(self, call_sid: str) -> None:
        """A call has ended by itself."""
        self._status[call_sid] = "completed"

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listens within; gives the base URL."""
        app = web.Application()
        app.router.add_get(_PATH, self._fetch)
        app.router.add_post(_PATH, self._update)
        app.router.add_get(_ACCOUNT, self._the_account)
        app.router.add_get(_NUMBERS, self._the_numbers)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield f"http://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _fetch(self, request: web.Request) -> web.Response:
        return self._refusal(request) or self._call(request)

    async def _update(self, request: web.Request) -> web.Response:
        if (refused := self._refusal(request)) is not None:
            return refused
        if request.content_type != _FORM:
            return _error(400, 20001, "Parameters are sent as a form")
        form, call_sid = await request.post(), request.match_info["call"]
        ends = set(form) == {"Status"} and form["Status"] == "completed"
        sends = set(form) == {"Url", "Method"}
        if not ends and not sends and set(form) != {"Twiml"}:
            return _error(400, 20001, f"Invalid parameters: {', '.join(sorted(form))}")
        if sends and not (str(form["Url"]).startswith(("http://", "https://")) and form["Method"] in ("GET", "POST")):
            return _error(400, 21205, "Url is not a valid URL")
        if not ends and not sends and len(str(form["Twiml"])) > _LONGEST_DOCUMENT:
            return _error(400, 21624, "Twiml parameter must be 4000 characters or less")
        if self._status[call_sid] != "in-progress":
            return _error(400, 21220, "Call is not in-progress. Cannot redirect.")
        if ends:
            self._status[call_sid] = "completed"
            self._completed(call_sid)
        elif sends:
            if self._sent is not None:
                self._sent(call_sid, str(form["Url"]))
        elif self._redirected is not None:
            self._redirected(call_sid, str(form["Twiml"]))
        return self._call(request)

    async def _the_account(self, request: web.Request) -> web.Response:
        told = {"sid": self._account_sid, "status": self.account, "uri": request.path}
        return self._stranger(request) or web.json_response(told)

    async def _the_numbers(self, request: web.Request) -> web.Response:
        told = {"incoming_phone_numbers": self.numbers, "next_page_uri": None, "page": 0, "page_size": 50, "uri": request.path}
        return self._stranger(request) or web.json_response(told)

    def _stranger(self, request: web.Request) -> web.Response | None:
        ours = encode_basic_auth(self._account_sid, self._auth_token)
        if request.match_info["account"] != self._account_sid or request.headers.get("Authorization") != ours:
            return _error(401, 20003, "Authenticate")
        return None

    def _refusal(self, request: web.Request) -> web.Response | None:
        call_sid = request.match_info["call"]
        if (stranger := self._stranger(request)) is not None:
            return stranger
        if not _CALL_SID.match(call_sid) or call_sid not in self._status:
            return _error(404, 20404, f"The requested resource {request.path} was not found")
        return None

    def _call(self, request: web.Request) -> web.Response:
        call_sid = request.match_info["call"]
        return web.json_response({"sid": call_sid, "account_sid": self._account_sid, "status": self._status[call_sid], "uri": request.path})


def _error(status: int, code: int, message: str) -> web.Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return web.json_response({"code": code, "message": message, "more_info": more, "status": status}, status=status)
