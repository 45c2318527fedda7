"""Where the files of exports lie: sealed under a key of the operation's own, beside the recordings."""

import hashlib
from dataclasses import dataclass

from api.ports import ExportsUnavailable
from events.sealing import BrokenSeal, KeyErased, KeyRing
from realtime.ports import RecordingStore


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExports:
    """`api.ports.Exports`, and the way in. Who erases the organisation's key erases its exports."""

    store: RecordingStore
    keyring: KeyRing

    async def keep(self, organisation_id: str, operation_id: str, name: str, content: bytes) -> tuple[str, str]:
        """Where it is kept, and its SHA-256. Raises OSError."""
        kept_as = f"{operation_id}/{name}"
        await self.store.put(kept_as, self.keyring.seal_part(organisation_id, operation_id, content, about=kept_as.encode()))
        return kept_as, hashlib.sha256(content).hexdigest()

    async def content(self, organisation_id: str, operation_id: str, kept_as: str) -> bytes | None:
        try:
            box = await self.store.get(kept_as)
            return None if box is None else self.keyring.open_part(organisation_id, operation_id, box, about=kept_as.encode())
        except KeyErased:
            return None
        except (OSError, BrokenSeal) as cause:
            raise ExportsUnavailable(f"The file cannot be read ({cause}).") from cause
