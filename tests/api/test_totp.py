"""Codes for once, held to the vectors of RFC 6238, appendix B."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from api import totp
from events.sealing import KeyRing, KeyStore

SECRET = base64.b32encode(b"12345678901234567890").decode()


class NoKeys(KeyStore):
    def get(self, subject: str) -> bytes | None:
        return None

    def put_if_absent(self, subject: str, wrapped: bytes) -> bytes:
        return wrapped


RING = KeyRing(b"m" * 32, NoKeys())


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)  # fmt: skip
def test_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    # The RFC prints eight digits; six are its last six.
    assert totp.code_at(SECRET, seconds // 30) == code
    assert totp.step_of(SECRET, code, datetime.fromtimestamp(seconds, UTC)) == seconds // 30


def test_a_code_is_good_a_step_before_and_after_its_own() -> None:
    at = datetime.fromtimestamp(1234567890, UTC)
    code = totp.code_at(SECRET, 1234567890 // 30)
    for steps, good in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        assert bool(totp.step_of(SECRET, code, at + steps * timedelta(seconds=30))) is good


def test_recovery_codes_are_found_however_they_are_written() -> None:
    codes = totp.recovery_codes(RING, "USR-1", b"seed")
    assert len(set(codes)) == 10
    kept = [totp.recovery_ref(RING, "USR-1", each) for each in codes]
    assert totp.left_of(RING, "USR-1", codes[3].lower().replace("-", " "), kept) == kept[3]
    assert totp.left_of(RING, "USR-1", codes[3], kept[:3]) == ""
    assert totp.left_of(RING, "USR-2", codes[3], kept) == ""
