"""What is kept of a call: both sides, aligned, between a start and a stop, and silence elsewhere."""

import asyncio
import io
import wave
from collections import Counter

import numpy as np
import pytest

from events.calls.recording import RecordingKept
from events.sealing import BrokenSeal, KeyErased, KeyRing
from realtime.audio import SILENCE, decode
from realtime.ports import RecordedStretch
from realtime.recording import pieces
from realtime.recording.recorder import Recorder
from realtime.recording.shelving import Shelving
from realtime.recording.sound import HEAD_BYTES, frames, head, size, stereo_wav
from tests.realtime.world import MemoryKeys, Shelf, keyring

QUIET = bytes([SILENCE])


def frame(value: int) -> bytes:
    return bytes([value]) * 160


def recording(piece_ms: int = 5000) -> tuple[list[RecordedStretch], Recorder]:
    kept: list[RecordedStretch] = []
    return kept, Recorder(kept.append, piece_ms=piece_ms)


class TestRecorder:
    def test_keeps_nothing_while_it_is_off(self) -> None:
        kept, recorder = recording()
        recorder.caller(0, frame(1))
        recorder.agent(0, frame(2))
        recorder.stop(20)
        assert kept == []

    def test_keeps_both_sides_at_their_call_time(self) -> None:
        kept, recorder = recording()
        recorder.start(100)
        recorder.caller(100, frame(1))
        recorder.agent(120 * 8, frame(2))
        recorder.caller(140, frame(3))
        recorder.stop(160)
        (stretch,) = kept
        assert stretch.from_ms == 100
        assert stretch.caller == frame(1) + QUIET * 160 + frame(3)
        assert stretch.agent == QUIET * 160 + frame(2) + QUIET * 160

    def test_keeps_only_what_sounds_within(self) -> None:
        kept, recorder = recording()
        recorder.agent(0, frame(2) + frame(3) + frame(4))
        recorder.caller(0, frame(1))
        recorder.start(20)
        recorder.caller(20, frame(1))
        recorder.stop(40)
        (stretch,) = kept
        assert (stretch.caller, stretch.agent) == (frame(1), frame(3))

    def test_keeps_nothing_of_what_was_cleared_before_it_sounded(self) -> None:
        kept, recorder = recording()
        recorder.start(0)
        recorder.agent(0, frame(2) + frame(3))
        recorder.cut(20)
        recorder.caller(40, frame(1))
        recorder.stop(60)
        assert kept[0].agent == frame(2) + QUIET * 320

    def test_keeps_each_stretch_for_itself(self) -> None:
        kept, recorder = recording()
        for start in (0, 100):
            recorder.start(start)
            recorder.caller(start, frame(1))
            recorder.stop(start + 20)
        assert [stretch.from_ms for stretch in kept] == [0, 100]

    def test_starts_in_the_middle_of_a_frame(self) -> None:
        kept, recorder = recording()
        recorder.start(10)
        recorder.caller(0, frame(1))
        recorder.stop(20)
        assert kept[0].caller == bytes([1]) * 80

    def test_hands_out_pieces_that_lie_end_to_end(self) -> None:
        kept, recorder = recording(piece_ms=100)
        recorder.start(5)
        recorder.agent(0, bytes(range(1, 201)) * 16)
        for at in range(0, 400, 20):
            recorder.caller(at, bytes([at // 20 + 1]) * 160)
        recorder.stop(395)
        assert [piece.from_ms for piece in kept] == [5, 120, 220, 320]
        caller, agent = (b"".join(getattr(piece, side) for piece in kept) for side in ("caller", "agent"))
        assert caller == b"".join(bytes([at // 20 + 1]) * 160 for at in range(0, 400, 20))[40:-40]
        assert agent == (bytes(range(1, 201)) * 16)[40:-40]

    def test_is_the_same_in_pieces_as_in_one(self) -> None:
        whole, one = recording(piece_ms=10**9)
        parts, other = recording(piece_ms=60)
        for recorder in (one, other):
            recorder.start(33)
            for at in range(0, 1000, 20):
                if at % 180 == 0:
                    recorder.agent(at * 8 + 37, frame(at % 250) * 7)
                if at == 500:
                    recorder.cut(510)
                recorder.caller(at, frame(at // 20))
            recorder.stop(987)
        assert len(parts) > 10
        assert b"".join(piece.caller for piece in parts) == whole[0].caller
        assert b"".join(piece.agent for piece in parts) == whole[0].agent

    def test_has_no_more_than_a_piece_in_memory(self) -> None:
        _, recorder = recording(piece_ms=100)
        recorder.start(0)
        for at in range(0, 60_000, 20):
            recorder.caller(at, frame(1))
        held = sum(len(value) for value in vars(recorder).values() if isinstance(value, bytearray))
        assert held <= 2 * 120 * 8


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

    def test_is_the_same_window_by_window(self) -> None:
        stretches = [
            RecordedStretch(from_ms=20, caller=frame(1), agent=frame(2)),
            RecordedStretch(from_ms=70, caller=frame(3), agent=frame(4)),
        ]
        windows = b"".join(frames(stretches, at, at + 10) for at in range(0, 100, 10))
        assert head(100) + windows == stereo_wav(stretches, 100)
        assert len(stereo_wav(stretches, 100)) == size(100)
        assert len(head(100)) == HEAD_BYTES


PIECE = RecordedStretch(from_ms=20, caller=frame(1), agent=frame(2))
NAME = pieces.name_of("call_1", "MZ1", 20)


class TestPieces:
    def test_come_back_as_they_were_and_hide_what_is_in_them(self) -> None:
        keys = keyring()
        content = pieces.sealed(PIECE, NAME, "AYB/ref", keys)
        assert pieces.unsealed(content, NAME, keys) == PIECE
        assert frame(1) not in content

    def test_lie_under_their_own_name_or_are_broken(self) -> None:
        keys = keyring()
        content = pieces.sealed(PIECE, NAME, "AYB/ref", keys)
        with pytest.raises(BrokenSeal):
            pieces.unsealed(content, pieces.name_of("call_1", "MZ1", 40), keys)
        with pytest.raises(BrokenSeal):
            pieces.unsealed(content[:-1] + bytes([content[-1] ^ 1]), NAME, keys)
        with pytest.raises(BrokenSeal):
            pieces.unsealed(b"nonsense", NAME, keys)

    @pytest.mark.parametrize("erased", ["AYB/ref", "AYB/ref#call_1"])
    def test_cannot_be_heard_once_the_person_or_the_call_was_erased(self, erased: str) -> None:
        store, master = MemoryKeys(), bytes(32)
        kept = pieces.sealed(PIECE, NAME, "AYB/ref", KeyRing(master, store))
        other = pieces.sealed(PIECE, "call_2/MZ1-000000020", "AYB/ref", KeyRing(master, store))
        assert pieces.unsealed(kept, NAME, KeyRing(master, store)) == PIECE
        store.erase(erased)
        with pytest.raises(KeyErased):
            pieces.unsealed(kept, NAME, KeyRing(master, store))
        if "#" in erased:
            assert pieces.unsealed(other, "call_2/MZ1-000000020", KeyRing(master, store)) == PIECE, "another call's is untouched"

    def test_of_two_calls_have_two_keys(self) -> None:
        keys = keyring()
        one = pieces.sealed(PIECE, NAME, "AYB/ref", keys).partition(b"\n")[2]
        other = pieces.sealed(PIECE, "call_2/MZ1-000000020", "AYB/ref", keys).partition(b"\n")[2]
        assert one[12:40] != other[12:40]


class TestShelving:
    def setup_method(self) -> None:
        self.keys, self.shelf, self.told, self.counters = keyring(), Shelf(), list[RecordingKept](), Counter[str]()

    def shelving(self) -> Shelving:
        return Shelving(
            self.shelf, lambda name, piece: pieces.sealed(piece, name, "AYB/ref", self.keys), self.told.append, self.counters,
            call_id="call_1", stream_sid="MZ1",
        )  # fmt: skip

    async def test_tells_of_each_piece_when_it_lies_there(self) -> None:
        shelving = self.shelving()
        running = asyncio.create_task(shelving.run())
        for at in (0, 20):
            shelving.take(RecordedStretch(from_ms=at, caller=frame(1), agent=frame(2)))
        await shelving.finish()
        running.cancel()
        assert [(fact.object, fact.from_ms, fact.to_ms) for fact in self.told] == [
            ("call_1/MZ1-000000000", 0, 20), ("call_1/MZ1-000000020", 20, 40),
        ]  # fmt: skip
        assert [pieces.digest_of(self.shelf.objects[fact.object]) for fact in self.told] == [fact.digest for fact in self.told]
        assert shelving.kept

    async def test_tries_again_and_keeps_the_order(self) -> None:
        self.shelf.failing = 2
        shelving = self.shelving()
        running = asyncio.create_task(shelving.run())
        for at in (0, 20, 40):
            shelving.take(RecordedStretch(from_ms=at, caller=frame(1), agent=frame(2)))
        await shelving.finish()
        running.cancel()
        assert [fact.from_ms for fact in self.told] == [0, 20, 40]
        assert self.counters["recording-puts-failed"] == 2

    async def test_is_bounded_while_the_store_is_away_and_counts_what_is_lost(self) -> None:
        self.shelf.failing = 10**6
        shelving = self.shelving()
        for at in range(0, 2000, 20):
            shelving.take(RecordedStretch(from_ms=at, caller=frame(1), agent=frame(2)))
        self.shelf.failing = 0
        running = asyncio.create_task(shelving.run())
        await shelving.finish()
        running.cancel()
        assert len(self.told) == 12
        assert self.counters["recording-pieces-lost"] == 88
        assert self.told[-1].from_ms == 1980
