"""Processes on paper that reach each other, unless a test says otherwise."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from commands.routing.ports import Silent, Unreachable


@dataclass(slots=True)
class PaperNet:
    """Who listens where. `dead` refuse connections, to `frozen` requests go and no answers come; `cut` pairs do not see each other."""

    serving: dict[str, Callable[[bytes], Awaitable[bytes]]] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    frozen: set[str] = field(default_factory=set)
    cut: set[frozenset[str]] = field(default_factory=set)
    asked: list[tuple[str, bytes]] = field(default_factory=list)


class PaperPeers:
    """`commands.routing.ports.Peers` of one process."""

    def __init__(self, net: PaperNet, address: str) -> None:
        self._net = net
        self._address = address

    async def ask(self, address: str, request: bytes, seconds: float) -> bytes:
        net = self._net
        server = address.partition("/")[0]
        listening = [known for known in net.serving if known.partition("/")[0] == server and known not in net.dead]
        if not listening or frozenset({self._address, address}) in net.cut:
            raise Unreachable(f"nobody listens at {address}")
        net.asked.append((address, request))
        try:
            async with asyncio.timeout(seconds):
                if address in net.frozen:
                    await asyncio.Event().wait()
                return await net.serving[listening[-1]](request)
        except TimeoutError:
            raise Silent(f"{address} says nothing") from None
