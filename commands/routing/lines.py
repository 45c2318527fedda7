"""Requests to other processes, and which of those are alive: who is silent is asked whether it lives; who does not say so is dead."""

import asyncio
from collections.abc import Iterable

from commands.routing.frames import Alive, BrokenFrame, Look, decode_answer, encode_request
from commands.routing.ports import PeerBusy, Peers, Silent, Unreachable

_DEAD_SECONDS = 1.0
_KEPT_LINES = 1_000
# Of one peer. What waits longer here would only wait elsewhere.
_UNDER_WAY = 8_192
_BUSY_RETRY_MS = 50


class Dead(Exception):
    """The process that the address names does not answer. `delivered`: it may have got the request before."""

    def __init__(self, *, delivered: bool) -> None:
        super().__init__("the process that holds the partition does not answer")
        self.delivered = delivered


class Overdue(Exception):
    """The process lives and had not answered when the deadline came."""


class _Line:
    """What is known of one process. `waiting`: requests under way, the oldest first, each with the time when it was sent."""

    __slots__ = ("dead_until", "heard", "probing", "waiting")

    def __init__(self) -> None:
        self.waiting: dict[asyncio.Timeout, float] = {}
        self.heard = 0.0
        self.dead_until = 0.0
        self.probing = False


class Lines:
    """The way to other processes. Without `peers` everybody else counts as dead. Call `sweep` several times in `silence_seconds`."""

    def __init__(self, peers: Peers | None, address: str, silence_seconds: float) -> None:
        self._peers = peers
        self._address = address
        self._host = address.partition("/")[0] if "/" in address else None
        self.silence_seconds = silence_seconds
        self._lines: dict[str, _Line] = {}

    def may_live(self, address: str) -> bool:
        """Whether it is another process that is not known to be dead. Who had our own host and port before us is dead."""
        if self._peers is None or address in {"", self._address} or address.partition("/")[0] == self._host:
            return False
        line = self._lines.get(address)
        return line is None or line.dead_until <= asyncio.get_running_loop().time()

    async def ask(self, address: str, request: bytes, deadline: float) -> tuple[bytes, bool]:
        """Send a request that may safely arrive twice; returns the answer, and whether another copy of it may still be dealt with.

        Raises Dead, Overdue or PeerBusy.
        """
        if self._peers is None or not self.may_live(address):
            raise Dead(delivered=False)
        loop, line, delivered = asyncio.get_running_loop(), self._line(address), False
        if len(line.waiting) >= _UNDER_WAY:
            raise PeerBusy(_BUSY_RETRY_MS)
        while True:
            now = loop.time()
            try:
                async with asyncio.timeout_at(deadline) as waiting:
                    line.waiting[waiting] = now
                    try:
                        answer = await self._peers.ask(address, request, deadline - now)
                    finally:
                        del line.waiting[waiting]
            except TimeoutError:
                if line.dead_until > loop.time():
                    raise Dead(delivered=True) from None
                raise Overdue from None
            except Unreachable:
                line.dead_until = loop.time() + _DEAD_SECONDS
                raise Dead(delivered=delivered) from None
            except Silent:
                delivered = True
                if loop.time() >= deadline:
                    raise Overdue from None
                # The connection broke. A process that still lives is asked again: it knows a repeat by its command's id.
                if not await self.lives(address):
                    raise Dead(delivered=True) from None
            else:
                line.heard = loop.time()
                return answer, delivered

    async def lives(self, address: str) -> bool:
        """Ask whether it is still the process that it was. Bounded by the time for which a process may be silent."""
        loop, line = asyncio.get_running_loop(), self._line(address)
        if await self._looks(address):
            line.heard, line.dead_until = loop.time(), 0.0
            return True
        line.dead_until = loop.time() + _DEAD_SECONDS
        return False

    def declare_dead(self, address: str) -> None:
        """It said itself that it is another process."""
        self._line(address).dead_until = asyncio.get_running_loop().time() + _DEAD_SECONDS

    def suspects(self, now: float) -> Iterable[str]:
        """Who has been silent too long while something was asked; `probe` them, each once."""
        for address, line in list(self._lines.items()):
            if not line.waiting or line.probing:
                continue
            quiet_since = max(line.heard, next(iter(line.waiting.values())))
            if now - quiet_since >= self.silence_seconds:
                line.probing = True
                yield address

    async def probe(self, address: str) -> None:
        """Ask a silent process whether it lives; if not, everybody who waits for it hears so."""
        line = self._line(address)
        try:
            if not await self.lives(address):
                for waiting in list(line.waiting):
                    # One whose deadline has just come hears that it is dead as well.
                    if not waiting.expired():
                        waiting.reschedule(asyncio.get_running_loop().time())
        finally:
            line.probing = False

    async def _looks(self, address: str) -> bool:
        if self._peers is None:
            return False
        try:
            async with asyncio.timeout(self.silence_seconds):
                answer = await self._peers.ask(address, encode_request(Look(address)), self.silence_seconds)
            return decode_answer(answer) == Alive(address)
        except (Unreachable, Silent, PeerBusy, BrokenFrame, TimeoutError):
            return False

    def _line(self, address: str) -> _Line:
        line = self._lines.get(address)
        if line is None:
            if len(self._lines) >= _KEPT_LINES:
                # Addresses change with each start of a process; those of long ago are never asked again.
                self._lines = {known: each for known, each in self._lines.items() if each.waiting or each.probing}
            line = self._lines[address] = _Line()
        return line
