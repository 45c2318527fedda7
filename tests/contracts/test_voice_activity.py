"""A detector of speech keeps the port's word: every window's probability, in order, for each call its own."""

import asyncio
from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest

from infra.adapters.silero.detector import SileroVoiceActivity
from infra.adapters.silero.network import LOOKED_AT, STATE, Network
from infra.adapters.silero.weights import AnotherNetwork, bundled
from realtime.audio import BYTES_PER_MS, FRAME_BYTES, RATE_HZ, decode_float, encode, saturated, silence
from realtime.hearing.vad import SILENT, WINDOW_MS, SpeechStarted, SpeechStopped, Thresholds, steps
from realtime.ports import ActivityStream
from tests.contracts.spoken import said


class Windows:
    def __init__(self) -> None:
        self.windows: list[tuple[int, float]] = []
        self.batches = 0
        self.news = asyncio.Event()

    def __call__(self, windows: Sequence[tuple[int, float]]) -> None:
        self.windows += windows
        self.batches += 1
        self.news.set()

    async def fed(self, stream: ActivityStream, mulaw: bytes) -> None:
        """Give audio in frames and wait until every whole window of it was judged."""
        wanted = len(self.windows) + len(mulaw) // (WINDOW_MS * BYTES_PER_MS)
        for at in range(0, len(mulaw), FRAME_BYTES):
            stream.feed(mulaw[at : at + FRAME_BYTES])
        async with asyncio.timeout(120):
            while len(self.windows) < wanted:
                self.news.clear()
                await self.news.wait()


def noise(duration_ms: int, level: float) -> bytes:
    draws = np.random.default_rng(1)
    return encode(saturated(draws.normal(0, level, duration_ms * BYTES_PER_MS)))


class TestDetector:
    async def test_gives_every_window_of_32_ms_in_order(self) -> None:
        windows = Windows()
        await windows.fed(SileroVoiceActivity().open(windows), silence(3200))
        assert [end_ms for end_ms, _ in windows.windows] == list(range(WINDOW_MS, 3201, WINDOW_MS))

    async def test_knows_speech_from_silence_and_noise(self) -> None:
        for background in (silence(1600), noise(1600, 300)):
            windows = Windows()
            stream = SileroVoiceActivity().open(windows)
            await windows.fed(stream, background + await said("what are your opening hours", before_ms=0, after_ms=0) + silence(960))
            _, changes = steps(SILENT, Thresholds(), windows.windows)
            assert [type(change) for change in changes] == [SpeechStarted, SpeechStopped]
            assert abs(changes[0].at_ms - 1600) < 150

    async def test_hears_speech_after_long_silence(self) -> None:
        windows = Windows()
        stream = SileroVoiceActivity().open(windows)
        await windows.fed(stream, silence(30_400))
        assert max(probability for _, probability in windows.windows) < 0.3
        await windows.fed(stream, await said("yes please", before_ms=0, after_ms=640))
        _, changes = steps(SILENT, Thresholds(), windows.windows)
        assert [type(change) for change in changes] == [SpeechStarted, SpeechStopped]

    async def test_gives_each_call_what_it_would_have_alone(self) -> None:
        audio = [await said("how much is a cleaning", after_ms=640), await said("please stop recording", after_ms=640), silence(1600)]
        shared = SileroVoiceActivity()
        together = [Windows() for _ in audio]
        streams = [shared.open(windows) for windows in together]
        await asyncio.gather(*(windows.fed(stream, mulaw) for windows, stream, mulaw in zip(together, streams, audio, strict=True)))
        for windows, mulaw in zip(together, audio, strict=True):
            alone = Windows()
            await alone.fed(SileroVoiceActivity().open(alone), mulaw)
            # Sums in a batch are added in another order.
            assert np.allclose([p for _, p in windows.windows], [p for _, p in alone.windows], atol=1e-4)

    async def test_tells_nothing_after_a_close(self) -> None:
        shared = SileroVoiceActivity()
        closed, open_still = Windows(), Windows()
        stream, other = shared.open(closed), shared.open(open_still)
        stream.feed(silence(320))
        stream.close()
        stream.close()
        stream.feed(silence(320))
        await open_still.fed(other, silence(320))
        assert closed.windows == []


class TestTheNetwork:
    async def test_finds_what_a_general_runtime_finds_in_speech_noise_and_silence(self) -> None:
        sounds = [await said("how much is a cleaning", after_ms=640), noise(1600, 300), noise(1600, 12_000), silence(1600)]
        longest = max(map(len, sounds))
        calls = np.stack(
            [decode_float(sound + silence((longest - len(sound)) // BYTES_PER_MS + 1)[: longest - len(sound)]) for sound in sounds]
        )
        ours, theirs = Network(bundled().read_bytes()), onnxruntime.InferenceSession(str(bundled()), providers=["CPUExecutionProvider"])
        state = np.zeros((2, len(sounds), STATE), np.float32)
        for at in range(0, longest - LOOKED_AT, WINDOW_MS * BYTES_PER_MS):
            windows = calls[:, at : at + LOOKED_AT]
            found, after = ours.run(windows, state)
            told, state = theirs.run(None, {"input": windows, "state": state, "sr": np.array(RATE_HZ, np.int64)})
            assert np.allclose(found, told[:, 0], atol=1e-4)
            assert np.allclose(after, state, atol=1e-4)

    def test_is_refused_when_the_package_has_another(self) -> None:
        with pytest.raises(AnotherNetwork):
            Network(bundled().with_name("silero_vad_16k_op15.onnx").read_bytes())
