"""What is kept of a call: both sides, aligned, between a start and a stop, and silence elsewhere."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest

from events.sealing import KeyErased
from infra.adapters.recording_folder import RecordingFolder
from realtime.audio import SILENCE, decode
from realtime.ports import RecordedStretch
from realtime.recording.recorder import Recorder, stereo_wav
from tests.realtime.world import keyring

QUIET = bytes([SILENCE])


def frame(value: int) -> bytes:
    return bytes([value]) * 160


class TestRecorder:
    def test_keeps_nothing_while_it_is_off(self) -> None:
        recorder = Recorder()
        recorder.caller(0, frame(1))
        recorder.agent(0, frame(2))
        recorder.stop(20)
        assert recorder.stretches == []

    def test_keeps_both_sides_at_their_call_time(self) -> None:
        recorder = Recorder()
        recorder.start(100)
        recorder.caller(100, frame(1))
        recorder.agent(120 * 8, frame(2))
        recorder.caller(140, frame(3))
        recorder.stop(160)
        (stretch,) = recorder.stretches
        assert stretch.from_ms == 100
        assert stretch.caller == frame(1) + QUIET * 160 + frame(3)
        assert stretch.agent == QUIET * 160 + frame(2) + QUIET * 160

    def test_keeps_only_what_sounds_within(self) -> None:
        recorder = Recorder()
        recorder.agent(0, frame(2) + frame(3) + frame(4))
        recorder.caller(0, frame(1))
        recorder.start(20)
        recorder.caller(20, frame(1))
        recorder.stop(40)
        (stretch,) = recorder.stretches
        assert (stretch.caller, stretch.agent) == (frame(1), frame(3))

    def test_keeps_nothing_of_what_was_cleared_before_it_sounded(self) -> None:
        recorder = Recorder()
        recorder.start(0)
        recorder.agent(0, frame(2) + frame(3))
        recorder.cut(20)
        recorder.caller(40, frame(1))
        recorder.stop(60)
        assert recorder.stretches[0].agent == frame(2) + QUIET * 320

    def test_keeps_each_stretch_for_itself(self) -> None:
        recorder = Recorder()
        for start in (0, 100):
            recorder.start(start)
            recorder.caller(start, frame(1))
            recorder.stop(start + 20)
        assert [stretch.from_ms for stretch in recorder.stretches] == [0, 100]

    def test_starts_in_the_middle_of_a_frame(self) -> None:
        recorder = Recorder()
        recorder.start(10)
        recorder.caller(0, frame(1))
        recorder.stop(20)
        assert recorder.stretches[0].caller == bytes([1]) * 80


class TestStereoWav:
    def test_has_the_whole_call_with_digital_silence_outside(self) -> None:
        with wave.open(io.BytesIO(stereo_wav([RecordedStretch(from_ms=20, caller=frame(1), agent=frame(2))], 60))) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2)
            assert (file.getnchannels(), file.getframerate(), file.getsampwidth(), len(samples)) == (2, 8000, 2, 480)
        assert not samples[:160].any()
        assert not samples[320:].any()
        assert (samples[160:320, 0] == decode(frame(1))).all()
        assert (samples[160:320, 1] == decode(frame(2))).all()

    def test_is_cut_at_the_end_of_the_call(self) -> None:
        with wave.open(io.BytesIO(stereo_wav([RecordedStretch(from_ms=0, caller=frame(1), agent=frame(2))], 10))) as file:
            assert file.getnframes() == 80


class TestRecordingFolder:
    STRETCHES = (
        RecordedStretch(from_ms=20, caller=frame(1), agent=frame(2)),
        RecordedStretch(from_ms=900, caller=b"", agent=b""),
        RecordedStretch(from_ms=1000, caller=frame(3), agent=frame(4)),
    )

    async def test_gives_back_what_it_was_given(self, tmp_path: Path) -> None:
        folder = RecordingFolder(tmp_path / "new", keyring())
        assert await folder.put("call_1", self.STRETCHES, subject="AYB/ref") == "call_1.recording"
        assert await folder.get("call_1") == self.STRETCHES
        await folder.put("call_1", self.STRETCHES[:1], subject="AYB/ref")
        assert await folder.get("call_1") == self.STRETCHES[:1]

    async def test_has_nothing_of_a_call_that_was_not_kept(self, tmp_path: Path) -> None:
        assert await RecordingFolder(tmp_path, keyring()).get("call_2") == ()

    async def test_lets_nobody_hear_it_without_the_callers_key(self, tmp_path: Path) -> None:
        await RecordingFolder(tmp_path, keyring()).put("call_1", self.STRETCHES, subject="AYB/ref")
        assert frame(1) not in (tmp_path / "call_1.recording").read_bytes()
        with pytest.raises(KeyErased):
            await RecordingFolder(tmp_path, keyring()).get("call_1")

    @pytest.mark.parametrize("call_id", ["../x", "", "a/b", "a\n"])
    async def test_takes_no_name_that_leads_elsewhere(self, tmp_path: Path, call_id: str) -> None:
        with pytest.raises(ValueError, match="name of a recording"):
            await RecordingFolder(tmp_path, keyring()).put(call_id, (), subject="AYB/ref")
