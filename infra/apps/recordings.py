"""A call's recording as people listen to it: a stereo WAV over the whole call, silent where nothing was kept."""

from dataclasses import dataclass

from api.ports import RecordingsUnavailable
from events.sealing import BrokenSeal, KeyErased
from projections.calls import CALLS
from projections.queries import Rows
from realtime.ports import EngineUnavailable, RecordingStore
from realtime.recording.recorder import stereo_wav


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecordings:
    """`api.ports.Recordings` over the store of sealed stretches; what the call's row says is on record counts."""

    rows: Rows
    store: RecordingStore

    async def wav(self, organisation_id: str, call_id: str) -> bytes | None:
        call = await self.rows.get(CALLS, organisation_id, call_id)
        if call is None or call.recording_object is None:
            return None
        try:
            stretches = await self.store.get(call_id)
        except KeyErased:
            return None
        except (OSError, EngineUnavailable, BrokenSeal) as cause:
            raise RecordingsUnavailable(f"The recording of {call_id} cannot be read ({cause}).") from cause
        return stereo_wav(stretches, call.duration_ms or 0) if stretches else None
