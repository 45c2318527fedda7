"""One Deepgram client for a process, and the one way in which its sockets are opened."""

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, TypeVar
from urllib.parse import urlsplit

import httpx
from deepgram import AsyncDeepgramClient, DeepgramClientEnvironment
from deepgram.core.api_error import ApiError

from infra.adapters.deepgram.sockets import OPENING, UNREACHABLE, SdkSocket, sdk_socket
from realtime.ports import EngineUnavailable

Socket = TypeVar("Socket")

_OPEN_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0


def deepgram_client(api_key: str, base_url: str | None, http: httpx.AsyncClient | None = None) -> AsyncDeepgramClient:
    """A client for Deepgram itself, or for whoever speaks its protocol at `base_url` (`http://host:port`).

    Making one builds a TLS context, which takes 16 ms: once per process.
    """
    if base_url is None:
        return AsyncDeepgramClient(api_key=api_key, transport_factory=sdk_socket, httpx_client=http)
    address = urlsplit(base_url)
    secure = address.scheme in {"https", "wss"}
    rest = f"{'https' if secure else 'http'}://{address.netloc}{address.path.rstrip('/')}"
    sockets = f"{'wss' if secure else 'ws'}://{address.netloc}{address.path.rstrip('/')}"
    environment = DeepgramClientEnvironment(base=rest, production=sockets, agent=sockets, agent_rest=rest)
    return AsyncDeepgramClient(api_key=api_key, environment=environment, transport_factory=sdk_socket, httpx_client=http)


async def opened(engine: str, connection: AbstractAsyncContextManager[Socket], stack: AsyncExitStack) -> Socket:
    """Enter a connection of the SDK's on `stack`, and dial its socket. Raises EngineUnavailable; `stack` is closed then."""
    made: list[SdkSocket] = []
    token = OPENING.set(made)
    try:
        async with asyncio.timeout(_OPEN_SECONDS):
            socket = await stack.enter_async_context(connection)
            for each in made:
                await each.dial()
    except ApiError as error:
        raise EngineUnavailable(engine, f"refused with status {error.status_code}") from error
    except TimeoutError as error:
        await closed(stack)
        raise EngineUnavailable(engine, f"no connection within {_OPEN_SECONDS:.0f} s") from error
    except UNREACHABLE as error:
        await closed(stack)
        raise EngineUnavailable(engine, f"{type(error).__name__}: {error}") from error
    finally:
        OPENING.reset(token)
    return socket


async def closed(stack: AsyncExitStack) -> None:
    """Close what was opened, for a peer that does not answer after two seconds without it."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await stack.aclose()
    except UNREACHABLE:
        # The stream is over either way, and nobody listens to it any more.
        return
