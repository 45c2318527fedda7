"""Facts about what a person allows us to do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from events.registry import event
from events.sealing import Sealed


class Purpose(StrEnum):
    """What a person may allow."""

    RECORDING = "recording"
    MARKETING_CALLS = "marketing-calls"
    SERVICE_CALLS = "service-calls"


@event("consent-granted", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentGranted:
    """The person said yes; `evidence` locates the audio or the form that proves it."""

    subject: Sealed[str]
    purpose: Purpose
    evidence: str
    expires_at: datetime | None = None


@event("consent-revoked", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRevoked:
    """The person took it back; it holds at once, and for every call under way."""

    purpose: Purpose
    evidence: str


ConsentEvent = ConsentGranted | ConsentRevoked
