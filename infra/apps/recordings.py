"""A call's recording as people listen to it: a stereo WAV over the whole call, silent where nothing was kept."""

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from api.ports import RecordingsUnavailable
from events.sealing import BrokenSeal, KeyErased
from projections.calls import CALLS
from projections.queries import Rows
from realtime import audio
from realtime.ports import EngineUnavailable, RecordedStretch, RecordingStore


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


def stereo_wav(stretches: Sequence[RecordedStretch], duration_ms: int) -> bytes:
    """16 bits linear, 8 kHz, caller left and agent right, from the call's answer on; digital silence between the stretches."""
    ends = [stretch.from_ms * audio.BYTES_PER_MS + len(stretch.caller) for stretch in stretches]
    samples = np.zeros((max([duration_ms * audio.BYTES_PER_MS, *ends]), 2), np.int16)
    for stretch in stretches:
        start = stretch.from_ms * audio.BYTES_PER_MS
        samples[start : start + len(stretch.caller), 0] = audio.decode(stretch.caller)
        samples[start : start + len(stretch.agent), 1] = audio.decode(stretch.agent)
    out = io.BytesIO()
    with wave.open(out, "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(2)
        wav.setframerate(audio.RATE_HZ)
        wav.writeframes(samples.tobytes())
    return out.getvalue()
