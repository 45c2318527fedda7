"""Facts about people who sign in: who they are, how they prove it, and how long they stay signed in."""

from dataclasses import dataclass
from datetime import datetime

from events.registry import event
from events.sealing import Sealed


@event("person-registered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRegistered:
    """Somebody is known to us from now on. All that is theirs is sealed under their own key.

    `email_ref` is the address's keyed hash; `password` is argon2id's text, None for who signs in by another house's word.
    """

    email: Sealed[str]
    email_ref: str
    name: Sealed[str]
    password: Sealed[str] | None


@event("person-renamed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRenamed:
    """They go by another name from now on."""

    name: Sealed[str]


@event("person-password-set", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PersonPasswordSet:
    """Another password counts from now on; argon2id's text."""

    password: Sealed[str]


@event("totp-offered", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TotpOffered:
    """A secret for a code generator was shown; it counts once a code made with it came back."""

    secret: Sealed[str]


@event("totp-enabled", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TotpEnabled:
    """Signing in takes a code from now on. `step` is that of the code that proved it; `recovery` are keyed hashes of codes for once."""

    step: int
    recovery: tuple[str, ...]


@event("totp-disabled", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class TotpDisabled:
    """The password alone is enough again."""


@event("person-signed-in", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSignedIn:
    """They proved who they are. `step` is that of the code they gave, `recovery` the hash of the recovery code that is used up by it."""

    session_id: str
    methods: tuple[str, ...]
    step: int = 0
    recovery: str = ""


@event("email-reserved", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class EmailReserved:
    """The address is this person's. The stream is named by its keyed hash."""

    person_id: str


@event("sign-in-failed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SignInFailed:
    """Somebody gave an address and could not prove that it is theirs; whether anybody has the address is not told by it."""

    at: datetime


@event("session-opened", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOpened:
    """A person is signed in somewhere. It is over at the end of `expires_at`, whatever is done with it meanwhile."""

    person_id: str
    methods: tuple[str, ...]
    at: datetime
    expires_at: datetime


@event("session-refreshed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRefreshed:
    """It goes on. Only the refresh token of this generation takes it further."""

    generation: int
    at: datetime


@event("session-ended", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded:
    """Its tokens open nothing any more. `reason`: `signed-out`, `token-reused`, `password-changed`, `expired`, `too-many`, `removed`."""

    reason: str


PersonEvent = PersonRegistered | PersonRenamed | PersonPasswordSet | TotpOffered | TotpEnabled | TotpDisabled | PersonSignedIn
EmailEvent = EmailReserved | SignInFailed
SessionEvent = SessionOpened | SessionRefreshed | SessionEnded
