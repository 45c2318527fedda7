"""Passwords by argon2id (RFC 9106), off the loop and a few at a time: each takes tens of megabytes and tens of milliseconds by design."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from api.ports import TooManyPasswords

T = TypeVar("T")
_AT_ONCE = 2
_WAITING = 32


class Argon2Passwords:
    """`api.ports.Passwords`. With the library's parameters (RFC 9106's second choice: 64 MiB, three passes) unless others are given."""

    def __init__(self, hasher: PasswordHasher | None = None, *, at_once: int = _AT_ONCE, waiting: int = _WAITING) -> None:
        self._hasher = hasher or PasswordHasher()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="passwords")
        self._room = at_once + waiting
        # What is compared with where nobody is known, so that it takes as long.
        self._nobodys = self._hasher.hash("nobody's")

    async def hashed(self, password: str) -> str:
        return await self._aside(lambda: self._hasher.hash(password))

    async def fits(self, password: str, kept: str | None) -> bool:
        def compare() -> bool:
            try:
                self._hasher.verify(self._nobodys if kept is None else kept, password)
            except (VerificationError, InvalidHashError):
                return False
            return kept is not None

        return await self._aside(compare)

    async def _aside(self, work: Callable[[], T]) -> T:
        if not self._room:
            raise TooManyPasswords
        self._room -= 1
        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # What has begun goes on when its caller leaves: there is room again when the thread is free.
        working.add_done_callback(self._leave)
        return await asyncio.shield(working)

    def _leave(self, _: object) -> None:
        self._room += 1

    def close(self) -> None:
        """Begins nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
