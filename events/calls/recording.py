"""When both sides of a call are kept, and when no more."""

from dataclasses import dataclass

from events.registry import event


@event("recording-started", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStarted:
    """Both sides are kept from here. `consent_version` is the version of the consents stream that allows it."""

    caller_ref: str
    consent_version: int
    at_ms: int


@event("recording-stopped", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStopped:
    """Nothing is kept from here."""

    caller_ref: str
    reason: str
    at_ms: int


@event("recording-kept", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingKept:
    """A piece of both sides, from `from_ms` to `to_ms` of call time, lies sealed in the store as `object`.

    `digest` is SHA-256 over the sealed bytes as they lie there, in hex: what is listened to later can be held to it.
    """

    object: str
    from_ms: int
    to_ms: int
    digest: str


@event("recording-listened", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingListened:
    """Someone listens; this stood on the log before the first byte went out. `by` is who, `reason` why, in their own words.

    `listening` names this act of it.
    """

    listening: str
    by: str
    reason: str


@event("recording-stop-ordered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingStopOrdered:
    """Someone outside the call wants the recording stopped; the worker obeys, and says when it did.

    `revoked_version` is the version of the consents stream at which the consent was withdrawn: no recording may rest on
    that version or an older one any more. 0: no consent was withdrawn.
    """

    reason: str
    revoked_version: int = 0
