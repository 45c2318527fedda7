"""Deepgram's wire protocol on a loopback address, for the unmodified SDK: real ears, a real voice, and its rules."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from infra.adapters.pocketsphinx.recogniser import Recogniser
from infra.emulators.deepgram.faults import NO_FAULTS, Faults
from infra.emulators.deepgram.flux import Flux
from infra.emulators.deepgram.listening import Listening
from infra.emulators.deepgram.parameters import BadRequest, flux_parameters, listen_parameters, speak_parameters
from infra.emulators.deepgram.speaking import Speaking

_PATIENCE_SECONDS: Final = 10.0


class _Server:
    def __init__(self, recogniser: Recogniser, api_key: str, faults: Faults, *, seed: int, patience_seconds: float) -> None:
        self._recogniser = recogniser
        self._accepted = {f"token {api_key}", f"bearer {api_key}"}
        self._faults = faults
        self._seed = seed
        self._patience_seconds = patience_seconds
        self._sockets: set[web.WebSocketResponse] = set()
        self._opened: Counter[str] = Counter()

    def _fault(self, kind: str) -> Faults:
        """What befalls the next socket of a kind."""
        self._opened[kind] += 1
        if self._faults.only_first is None or self._opened[kind] <= self._faults.only_first:
            return self._faults
        return self._faults.afterwards or NO_FAULTS

    def _check(self, request: web.Request, refuse_status: int | None) -> web.Response | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if f"{scheme.lower()} {key}" not in self._accepted:
            return _refusal(401, "INVALID_AUTH", "Invalid credentials.")
        if refuse_status is not None:
            return _refusal(refuse_status, "PLANNED", "Refused by plan.")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return _refusal(400, "Bad Request", "a WebSocket handshake is expected here")
        return None

    async def listen(self, request: web.Request) -> web.StreamResponse:
        faults = self._fault("listen")
        if refusal := self._check(request, faults.refuse_listen_status):
            return refusal
        try:
            parameters = listen_parameters(list(request.query.items()))
        except BadRequest as error:
            return _refusal(400, "Bad Request", str(error))
        socket = await self._shaken(request)
        self._seed += 1
        listening = Listening(socket, parameters, seed=self._seed, patience_seconds=self._patience_seconds, faults=faults)
        await listening.serve(self._recogniser)
        self._sockets.discard(socket)
        return socket

    async def flux(self, request: web.Request) -> web.StreamResponse:
        faults = self._fault("listen")
        if refusal := self._check(request, faults.refuse_listen_status):
            return refusal
        try:
            parameters = flux_parameters(list(request.query.items()))
        except BadRequest as error:
            return _refusal(400, "Bad Request", str(error))
        socket = await self._shaken(request)
        self._seed += 1
        await Flux(socket, parameters, seed=self._seed, patience_seconds=self._patience_seconds, faults=faults).serve(self._recogniser)
        self._sockets.discard(socket)
        return socket

    async def speak(self, request: web.Request) -> web.StreamResponse:
        faults = self._fault("speak")
        if refusal := self._check(request, faults.refuse_speak_status):
            return refusal
        try:
            parameters = speak_parameters(list(request.query.items()))
        except BadRequest as error:
            return _refusal(400, "Bad Request", str(error))
        socket = await self._shaken(request)
        await Speaking(socket, parameters, faults).serve()
        self._sockets.discard(socket)
        return socket

    async def projects(self, request: web.Request) -> web.Response:
        """What the key opens."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if f"{scheme.lower()} {key}" not in self._accepted:
            return _refusal(401, "INVALID_AUTH", "Invalid credentials.")
        return web.json_response({"projects": [{"project_id": str(uuid.UUID(int=1)), "name": "emulated"}]})

    async def _shaken(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=True, max_msg_size=1 << 20)
        socket.headers["dg-request-id"] = str(uuid.uuid4())
        await socket.prepare(request)
        self._sockets.add(socket)
        return socket

    async def hang_up(self, _: web.Application) -> None:
        for socket in list(self._sockets):
            await socket.close(code=1001, message=b"going away")


def _refusal(status: int, code: str, words: str) -> web.Response:
    body: dict[str, Any] = {"err_code": code, "err_msg": words, "request_id": str(uuid.uuid4())}
    return web.json_response(body, status=status)


@asynccontextmanager
async def deepgram_emulator(
    *,
    recogniser: Recogniser,
    api_key: str,
    faults: Faults = NO_FAULTS,
    seed: int = 0,
    patience_seconds: float = _PATIENCE_SECONDS,
    port: int = 0,
) -> AsyncIterator[str]:
    """Serve on a free port of the loopback address; gives the base URL. `seed` decides which finals go unmarked."""
    server = _Server(recogniser, api_key, faults, seed=seed, patience_seconds=patience_seconds)
    app = web.Application()
    app.router.add_get("/v1/listen", server.listen)
    app.router.add_get("/v2/listen", server.flux)
    app.router.add_get("/v1/speak", server.speak)
    app.router.add_get("/v1/projects", server.projects)
    app.on_shutdown.append(server.hang_up)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        host, bound = runner.addresses[0][:2]
        yield f"http://{host}:{bound}"
    finally:
        await runner.cleanup()
