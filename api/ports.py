"""What the API needs from the world, beside the dispatch of commands and the rows of the projections."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from api.limits import READS, WRITES, Limits, Policy, ProcessLimits
from api.versions import Versions
from commands.dispatch import Dispatch
from events.positions import Position
from events.rooms import ROOMS
from events.sealing import KeyRing
from events.streams import topic_of
from projections.directory import KnownKey
from projections.feed import Feed
from projections.queries import JournalRows, Rows


class ApiKeys(Protocol):
    """The keys of all organisations, held in memory, so that writes go on while the read models are away."""

    def api_key(self, key_id: str) -> KnownKey | None:
        """A key that is issued and not revoked (it may have expired); None for every other."""

    async def wait_for(self, positions: Sequence[Position], timeout_seconds: float) -> bool:
        """Wait until what stands at the positions is in the answers; False when that was not in time."""


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

    `limits` counts what each key asks, within the quotas `reads` and `writes`. `topics`: those from which the read models are made.
    `webhooks_private`: whether webhooks may be sent in clear, and to one's own network.
    """

    dispatch: Dispatch
    rows: Rows
    journal: JournalRows
    api_keys: ApiKeys
    keyring: KeyRing
    recordings: Recordings
    feed: Feed
    health: Health
    clock: Clock
    draw: Draw
    operator_key_hash: bytes | None = None
    limits: Limits = field(default_factory=lambda: ProcessLimits(time.monotonic))
    reads: Policy = READS
    writes: Policy = WRITES
    webhooks_private: bool = False
    topics: Collection[str] = frozenset(topic_of(room) for room in ROOMS)
    versions: Versions = field(default_factory=Versions)
