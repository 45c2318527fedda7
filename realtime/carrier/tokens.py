"""Who may open a media socket: a signed, short-lived, single-use token bound to the carrier's call and to ours."""

import hmac
import os
import re
from base64 import urlsafe_b64encode
from enum import StrEnum

_TOKEN = re.compile(r"1\.(?P<call>[A-Za-z0-9_-]{1,80})\.(?P<until>[0-9]{1,12})\.(?P<nonce>[0-9a-f]{16})\.(?P<mac>[A-Za-z0-9_-]{43})\Z")


class TokenWrong(StrEnum):
    """Why a token opens nothing; a counter's name."""

    MISSING = "token-missing"
    FORGED = "token-forged"
    EXPIRED = "token-expired"
    USED = "token-used"


class TokenRefused(Exception):
    def __init__(self, wrong: TokenWrong) -> None:
        super().__init__(wrong.value)
        self.wrong = wrong


class Tokens:
    """Issues and redeems. What was used is remembered for as long as it would be valid. Times are seconds since 1970."""

    def __init__(self, key: bytes, lifetime_seconds: int = 60) -> None:
        self._key = hmac.digest(key, b"aybiza media token", "sha256")
        self._lifetime = lifetime_seconds
        self._used: dict[str, int] = {}

    def issue(self, call_id: str, call_sid: str, now_seconds: float) -> str:
        """A token for one media stream of this call. It stays well below the 500 characters of a stream parameter."""
        body = f"1.{call_id}.{int(now_seconds) + self._lifetime}.{os.urandom(8).hex()}"
        return f"{body}.{self._mac(body, call_sid)}"

    def redeem(self, token: str, call_sid: str, now_seconds: float) -> str:
        """The call that the token opens, once. Raises TokenRefused."""
        if not token:
            raise TokenRefused(TokenWrong.MISSING)
        found = _TOKEN.match(token)
        if found is None or not hmac.compare_digest(found["mac"], self._mac(token.rpartition(".")[0], call_sid)):
            raise TokenRefused(TokenWrong.FORGED)
        until = int(found["until"])
        if until < now_seconds:
            raise TokenRefused(TokenWrong.EXPIRED)
        if found["nonce"] in self._used:
            raise TokenRefused(TokenWrong.USED)
        self._used = {nonce: end for nonce, end in self._used.items() if end >= now_seconds}
        self._used[found["nonce"]] = until
        return found["call"]

    def _mac(self, body: str, call_sid: str) -> str:
        return urlsafe_b64encode(hmac.digest(self._key, f"{body}\0{call_sid}".encode(), "sha256")).decode().rstrip("=")
