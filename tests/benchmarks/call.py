"""Spoken calls over engines with fixed delays: what a turn takes beyond them, how soon a barge-in silences us, and the CPU.

The voice process is one of its own, with the real detector, Kafka, and sealed recordings; the callers speak the carrier's protocol
over real sockets, with real speech, 7.5 turns a minute and a barge-in in every second cycle. Projections are not part of it.

    python -m tests.benchmarks.call [--calls 1] [--seconds 60]
"""

import argparse
import asyncio
import base64
import json
import random
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import psutil
import uvloop

from infra.adapters.flite import synthesise
from infra.local.stack import ensure_stack, stop_stack
from infra.settings import load_settings
from realtime.audio import FRAME_BYTES, level_dbfs
from realtime.speaking.playout import words_within
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.voice.caller import CYCLE_SECONDS, Caller, Measured
from tests.benchmarks.voice.engines import FLOOR_MS, REPLY, SAMPLES_PER_CHARACTER
from tests.benchmarks.voice.office import QUESTION

RIVAL = "pipecat 1.14, measured on a machine of this size"
_QUIET_DBFS = -40.0


def frames_of(mulaw: bytes) -> list[str]:
    """Speech from its first to its last loud frame, ready to be sent."""
    frames = [mulaw[at : at + FRAME_BYTES] for at in range(0, len(mulaw) - FRAME_BYTES + 1, FRAME_BYTES)]
    loud = [index for index, frame in enumerate(frames) if level_dbfs(frame) > _QUIET_DBFS]
    return [base64.b64encode(frame).decode() for frame in frames[loud[0] : loud[-1] + 1]]


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of its children."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


async def measure(calls: int, seconds: float) -> tuple[list[Measured], dict[str, Any], float, float]:
    """What callers saw, what the voice process says, its CPU seconds for each minute of a call, and its memory in MB."""
    settings = load_settings()
    state_dir = settings.state_dir / "bench-call"
    settings = settings.model_copy(update={"state_dir": state_dir})
    stack = await ensure_stack(state_dir, settings, lambda part, words: _tell(f"{part}: {words}"))
    speech = frames_of(await synthesise(QUESTION, voice="rms"))
    office = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.voice.office", stack.kafka, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        if office.stdout is None or office.stdin is None:
            raise RuntimeError("the voice process has no pipes")
        webhook = json.loads(await office.stdout.readline())["webhook"]
        process = psutil.Process(office.pid)
        before, began = cpu_seconds(process), asyncio.get_running_loop().time()
        callers = [Caller(webhook=webhook, speech=speech, draws=random.Random(number)) for number in range(calls)]
        cycles = max(2, round(seconds / CYCLE_SECONDS))
        async with asyncio.TaskGroup() as tasks:
            for number, caller in enumerate(callers):
                tasks.create_task(_staggered(caller, cycles, number / calls * CYCLE_SECONDS))
        minutes = (asyncio.get_running_loop().time() - began) / 60
        cpu, memory = (cpu_seconds(process) - before) / calls / minutes, process.memory_info().rss / 1e6
        office.stdin.close()
        told = json.loads(await office.stdout.readline())
        await office.wait()
    finally:
        if office.returncode is None:
            office.kill()
            await office.wait()
        await stop_stack(state_dir, settings, lambda _part, _words: None)
    return [caller.measured for caller in callers], told, cpu, memory


async def _staggered(caller: Caller, cycles: int, delay_seconds: float) -> None:
    await asyncio.sleep(delay_seconds)
    await caller.call(cycles)


def figures(measured: Sequence[Measured], told: dict[str, Any], cpu: float, memory: float) -> list[Figure]:
    turns = [1000 * turn for one in measured for turn in one.turns[1:]]
    clears = [1000 * clear for one in measured for clear in one.clears]
    answers = [turn for turn in told["turns"] if turn["kind"] == "agent" and turn["turn"] > 1 and turn["on_wire_ms"] is not None]
    floor_to_audio = FLOOR_MS - 100
    to_audio = [turn["on_wire_ms"] - turn["recognised_ms"] - floor_to_audio for turn in answers if turn["recognised_ms"] is not None]
    truths = heard_truth([1000 * played for one in measured for played in one.played], told)
    greetings = [1000 * one.greeting for one in measured if one.greeting is not None]
    return [
        _figure("added_turn_latency_p50", _at(turns, 50, -FLOOR_MS), unit="ms", target=130, reference_value=150),
        _figure("added_turn_latency_p95", _at(turns, 95, -FLOOR_MS), unit="ms", target=None, reference_value=None),
        _figure("final_to_first_audio_p50", _at(to_audio, 50), unit="ms", target=7, reference_value=30),
        _figure("barge_in_to_clear_p50", _at(clears, 50), unit="ms", target=200, reference_value=324),
        _figure("start_to_greeting_p95", _at(greetings, 95, -120), unit="ms", target=300),
        _figure("cpu_seconds_per_call_minute", round(cpu, 3), unit="s", target=0.25, reference_value=2.4),
        _figure("memory_of_the_voice_process", round(memory, 1), unit="MB", target=None),
        _figure("heard_truth_within_one_word", truths, unit="%", target=95, reference_value=0, better="higher"),
    ]


def _figure(
    name: str, value: float | None, *, unit: str, target: float | None, reference_value: float | None = None, better: str = "lower"
) -> Figure:
    reference = None if reference_value is None else RIVAL
    return Figure(figure=name, value=value, unit=unit, better=better, target=target, reference=reference, reference_value=reference_value)


def heard_truth(played_ms: Sequence[float], told: dict[str, Any]) -> float | None:
    """How many of the interrupted replies the model was told of within one word of what had sounded."""
    cut = [turn["heard"] for turn in told["turns"] if turn["kind"] == "agent" and turn["interrupted"] and turn["turn"] > 1]
    share = [len(words_within(REPLY, 8 * played / (SAMPLES_PER_CHARACTER * len(REPLY))).split()) for played in sorted(played_ms)]
    pairs = list(zip(share, sorted(len(heard.split()) for heard in cut), strict=False))
    return round(100 * sum(abs(one - two) <= 1 for one, two in pairs) / len(pairs), 1) if pairs else None


def doubts(measured: Sequence[Measured], told: dict[str, Any]) -> list[str]:
    """Why the run proves nothing; empty for one that counts."""
    asked = sum(one.asked + 1 for one in measured)
    on_log = sum(turn["kind"] == "caller" for turn in told["turns"])
    late = sorted(late for one in measured for late in one.late)
    reasons = {
        f"{asked} turns were asked, {sum(len(one.turns) for one in measured)} answered": any(
            len(one.turns) < one.asked + 1 for one in measured
        ),
        f"{asked} turns were asked, {on_log} are on the log": on_log != asked,
        "a barge-in was not cleared": any(len(one.clears) < one.spoken_over for one in measured),
        f"{sum(one.gaps for one in measured)} gaps inside replies": any(one.gaps for one in measured),
        "the callers were late themselves": bool(late) and late[int(len(late) * 0.99)] > 0.005,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _at(values: Sequence[float], percent: int, shift: float = 0) -> float | None:
    if not values:
        return None
    if len(values) == 1:
        return round(values[0] + shift, 1)
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1] + shift, 1)


def _tell(words: str) -> None:
    sys.stderr.write(words + "\n")


def main() -> None:
    """A table for people on standard error, a line of JSON for each figure on standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    wanted = parser.parse_args()
    measured, told, cpu, memory = uvloop.run(measure(wanted.calls, wanted.seconds))
    show("call", f"{wanted.calls} at once, fixed-delay engines", figures(measured, told, cpu, memory), calls=wanted.calls)
    for doubt in doubts(measured, told):
        _tell(f"this run proves little: {doubt}")


if __name__ == "__main__":
    main()
