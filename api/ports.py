"""What the API needs from the world, beside the dispatch of commands and the rows of the projections."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from api.last_use import LastUse
from api.limits import DEAR, READS, SIGN_INS, SIGN_INS_FROM_ONE, SIGN_INS_TO_ONE, WRITES, Limits, Policy, ProcessLimits
from api.versions import Versions
from commands.dispatch import Dispatch
from commands.rates import Verified
from events.positions import Position, Reach
from events.rooms import ROOMS
from events.sealing import KeyRing
from events.streams import topic_of
from projections.access import Access
from projections.directory import KnownKey
from projections.feed import Feed
from projections.queries import JournalRows, Rows


class ApiKeys(Protocol):
    """The keys of all organisations, held in memory, so that writes go on while the read models are away."""

    def api_key(self, key_id: str) -> KnownKey | None:
        """A key that is issued and not revoked (it may have expired); None for every other."""

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        """Wait until what stands at the positions is in the answers; False when that was not in time."""

    def position(self) -> Reach:
        """Up to where everything is in the answers, also in those of `Ports.access`."""


class TooManyPasswords(Exception):
    """So many passwords are being checked that this one is not taken; checking one is dear by design."""


class Passwords(Protocol):
    """Passwords, as they are kept. Both methods take long, off the loop; both raise TooManyPasswords."""

    async def hashed(self, password: str) -> str:
        """What is kept of it: salted, so that it is another text each time."""

    async def fits(self, password: str, kept: str | None) -> bool:
        """Whether it is the one that was kept. None: it never is, and it takes as long to say so."""


class NotVerified(Exception):
    """The other house does not vouch for this person, or we do not believe that it does."""


class IdentityProvider(Protocol):
    """Another house's word for who somebody is (SAML, OpenID Connect): sign-in without a password of ours."""

    async def verified(self, assertion: str) -> str:
        """The e-mail address that the house vouches for. An assertion is good once. Raises NotVerified."""


class RecordingsUnavailable(Exception):
    """Recordings cannot be read now; the text says why."""


class Sound(Protocol):
    """A stereo WAV, caller left and agent right."""

    @property
    def size(self) -> int:
        """In bytes."""

    def read(self, first: int, last: int) -> AsyncIterator[bytes]:
        """Its bytes from `first` to `last`, as they come. Raises RecordingsUnavailable."""


class Recordings(Protocol):
    """What was recorded of calls."""

    async def sound(self, organisation_id: str, call_id: str) -> Sound | None:
        """A call's recording; None where nothing was kept, or the caller was erased. Raises RecordingsUnavailable."""


class ExportsUnavailable(Exception):
    """The files of exports cannot be read now; the text says why."""


class Exports(Protocol):
    """What operations made of an organisation's facts."""

    async def content(self, organisation_id: str, operation_id: str, kept_as: str) -> bytes | None:
        """A whole file; None where it is not there, or the organisation was erased. Raises ExportsUnavailable."""


class WebhookAddresses(Protocol):
    """Where a stranger may have us send to."""

    async def refused(self, host: str) -> str:
        """Why a name or an address is not called, in words for its owner; empty: it is, as things are now. Answers within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that this process needs, and how it is. `needed`: without it the process is not ready."""

    name: str
    ready: bool
    why: str = ""
    needed: bool = True


class Health(Protocol):
    """How the process is."""

    async def __call__(self) -> Sequence[Check]:
        """Look now. Answers within a second, and does not raise."""


Clock: TypeAlias = Callable[[], datetime]
"""The time of day: aware, UTC."""
Draw: TypeAlias = Callable[[int], bytes]
"""So many random bytes, fit for secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All that `create_app` is wired with. `operator_key_hash`: SHA-256 of the operator's whole key; None: there is none.

    `limits` counts what each key asks, within the quotas `reads`, `writes` and `dear`. `topics`: those from which the read models are made.
    `webhooks_private`: whether webhooks may be sent in clear, and to one's own network. `graph_queries`: by their SHA-256, those alone
    that the GraphQL view answers; None: all.
    `browser_origins`: the sites whose pages may ask, such as `https://app.example`.
    `access` is held in memory as `api_keys` is. Without `passwords` nobody signs in by one.
    What `last_use` was told becomes facts where it is run.
    """

    dispatch: Dispatch
    rows: Rows
    journal: JournalRows
    api_keys: ApiKeys
    keyring: KeyRing
    recordings: Recordings
    exports: Exports
    feed: Feed
    health: Health
    webhook_addresses: WebhookAddresses
    clock: Clock
    draw: Draw
    operator_key_hash: bytes | None = None
    limits: Limits = field(default_factory=lambda: ProcessLimits(time.monotonic))
    reads: Policy = READS
    writes: Policy = WRITES
    dear: Policy = DEAR
    webhooks_private: bool = False
    browser_origins: Collection[str] = frozenset()
    sign_ins: Sequence[Policy] = SIGN_INS
    sign_ins_to_one: Policy = SIGN_INS_TO_ONE
    sign_ins_from_one: Policy = SIGN_INS_FROM_ONE
    access: Access = field(default_factory=Access)
    passwords: Passwords | None = None
    last_use: LastUse = field(default_factory=LastUse)
    identity_providers: Mapping[str, IdentityProvider] = field(default_factory=dict)
    graph_queries: Mapping[str, str] | None = None
    topics: Collection[str] = frozenset(topic_of(room) for room in ROOMS)
    versions: Versions = field(default_factory=Versions)
    verified: Verified = field(default_factory=Verified)
