"""Where the files of exports lie: sealed under a key of the operation's own, beside the recordings."""

import hashlib
from dataclasses import dataclass
from typing import Protocol

from api.ports import ExportsUnavailable
from events.sealing import BrokenSeal, KeyErased, KeyRing
from projections.operations import Operation
from realtime.ports import RecordingStore


class FileStore(RecordingStore, Protocol):
    """Where files lie for a time."""

    async def remove(self, name: str) -> None:
        """It is there no more, or never was. Raises OSError."""


def file_name(number: int, attempt: int) -> str:
    """What an attempt wrote that nobody noted lies under a name of its own."""
    return f"{number:05d}-{attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExports:
    """`api.ports.Exports`, and the way in and out. Who erases the organisation's key erases its exports."""

    store: FileStore
    keyring: KeyRing

    async def keep(self, organisation_id: str, operation_id: str, name: str, content: bytes) -> tuple[str, str]:
        """Where it is kept, and its SHA-256. Raises OSError."""
        kept_as = f"{operation_id}/{name}"
        await self.store.put(kept_as, self.keyring.seal_part(organisation_id, operation_id, content, about=kept_as.encode()))
        return kept_as, hashlib.sha256(content).hexdigest()

    async def remove(self, row: Operation) -> None:
        """All that came of an operation, and what its attempts wrote that nobody noted. Raises OSError."""
        for number in range(1, len(row.files) + 2):
            for attempt in range(1, row.attempt + 1):
                await self.store.remove(f"{row.id}/{file_name(number, attempt)}")

    async def content(self, organisation_id: str, operation_id: str, kept_as: str) -> bytes | None:
        try:
            box = await self.store.get(kept_as)
            return None if box is None else self.keyring.open_part(organisation_id, operation_id, box, about=kept_as.encode())
        except KeyErased:
            return None
        except (OSError, BrokenSeal) as cause:
            raise ExportsUnavailable(f"The file cannot be read ({cause}).") from cause
