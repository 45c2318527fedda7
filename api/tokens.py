"""Short-lived tokens, signed by the installation's key ring: whoever holds the ring can check one, and nothing is kept of it."""

import base64
import binascii
import hmac
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from events.sealing import KeyRing

ACCESS_SECONDS = 900
BEARER: Final = "Bearer"
_PREFIX = "aybiza_token_"
_REFRESH = re.compile(r"aybiza_refresh_(ses_[0-9a-f]{32})_([1-9][0-9]{0,8})_([0-9a-f]{32})\Z")
_DEVICE = re.compile(r"aybiza_device_(ses_[0-9a-f]{32})_([0-9a-f]{32})\Z")
_INVITATION = re.compile(r"aybiza_invitation_(inv_[0-9a-f]{32})_([0-9a-f]{32})\Z")
_ACCESS = "token access"
_TO_REFRESH = "token refresh"
_KNOWN = "token device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. `subject` is a session's id (`ses_…`) or a client's (`cli_…`); `scopes`: those that it was fetched for."""

    subject: str
    expires_at: datetime
    scopes: tuple[str, ...] = ()


class Refresh(NamedTuple):
    """What a refresh token says: which of a session's refresh tokens it is."""

    session_id: str
    generation: int


def is_token(text: str) -> bool:
    """Whether it looks like one, whoever signed it."""
    return text.startswith(_PREFIX)


def sign(keyring: KeyRing, claims: Claims) -> str:
    """The bearer token of the claims."""
    plain = json.dumps([claims.subject, int(claims.expires_at.timestamp()), *claims.scopes], separators=(",", ":")).encode()
    payload = base64.urlsafe_b64encode(plain).decode().rstrip("=")
    return f"{_PREFIX}{payload}.{keyring.reference(_ACCESS, payload)}"


def read(keyring: KeyRing, token: str) -> Claims | None:
    """What one of ours says, also when its time is over; None for any other text."""
    payload, _, signature = token.removeprefix(_PREFIX).rpartition(".")
    if not payload.isascii() or not hmac.compare_digest(signature.encode(), keyring.reference(_ACCESS, payload).encode()):
        return None
    try:
        subject, expires_at, *scopes = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError, TypeError):
        return None
    return Claims(subject=subject, expires_at=datetime.fromtimestamp(expires_at, UTC), scopes=tuple(scopes))


def sign_refresh(keyring: KeyRing, refresh: Refresh) -> str:
    """It follows from what it says, so that whoever asks twice in a moment has the same answer."""
    named = f"{refresh.session_id}_{refresh.generation}"
    return f"aybiza_refresh_{named}_{keyring.reference(_TO_REFRESH, named)}"


def read_refresh(keyring: KeyRing, token: str) -> Refresh | None:
    """None for a token that is none of ours; whether it is the session's last one is for the session's owner to decide."""
    parts = _REFRESH.match(token)
    if parts is None or not hmac.compare_digest(parts[3], keyring.reference(_TO_REFRESH, f"{parts[1]}_{parts[2]}")):
        return None
    return Refresh(parts[1], int(parts[2]))


def device_token(keyring: KeyRing, email_ref: str, session_id: str) -> str:
    """By which a device says that a person of this address signed in on it before. It opens nothing by itself."""
    return f"aybiza_device_{session_id}_{keyring.reference(_KNOWN, f'{email_ref} {session_id}')}"


def known_device(keyring: KeyRing, email_ref: str, token: str | None) -> str:
    """Which device it is, for that address; empty for none."""
    parts = _DEVICE.match(token or "")
    return parts[1] if parts and hmac.compare_digest(token or "", device_token(keyring, email_ref, parts[1])) else ""


def invitation_token(keyring: KeyRing, invitation_id: str, seed: bytes) -> str:
    """By which an invitation is accepted; it follows from the seed, so that a repeated request has the same answer."""
    return f"aybiza_invitation_{invitation_id}_{keyring.reference(invitation_id, f'invitation {seed.hex()}')}"


def read_invitation(token: str) -> str | None:
    """Which invitation a token is for; None for a text that could be none."""
    parts = _INVITATION.match(token)
    return None if parts is None else parts[1]


def token_ref(keyring: KeyRing, token: str) -> str:
    """What is kept of a secret that is shown once: its keyed hash."""
    return keyring.reference("token", token)
