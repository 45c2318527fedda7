"""Figures of a run of the bench from what callers, providers, tables and /proc say; and why a run proves nothing."""

import statistics
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks.figures import Figure
from tests.benchmarks.voice.listening import RESULT_AFTER_MS
from tests.benchmarks.voice.speaking import FIRST_BYTE_AFTER_MS
from tests.benchmarks.voice.thinking import FIRST_TOKEN_AFTER_MS, REPLY, TOKEN_EVERY_MS, number_in
from tests.benchmarks.voice.words import words_of

RIVAL: Final = "pipecat 1.14, on a machine of this size"
_TOKENS_OF_FIRST_SENTENCE: Final = len(REPLY.partition(".")[0].split())
TO_SOUND_MS: Final = FIRST_TOKEN_AFTER_MS + (_TOKENS_OF_FIRST_SENTENCE - 1) * TOKEN_EVERY_MS + FIRST_BYTE_AFTER_MS
FLOOR_MS: Final = RESULT_AFTER_MS + TO_SOUND_MS
"""What the providers alone take from the request for a final to the first sound of the first sentence."""
_LATE_SECONDS: Final = 0.005
_FOREIGN_CORES: Final = 0.2
# What a call that is hung up takes with it: the last frames may still be gathered.
_LAST_BYTES: Final = 1600


REFUSED: Final = "the ring was refused"
"""How a caller's call ended that was never taken."""


@dataclass(slots=True, kw_only=True)
class Run:
    """One run. CPU seconds are of the measured time; `turns`: what the tables have, by call, None where there are none to look in."""

    calls: int
    seconds: float
    callers: list[dict[str, Any]]
    late_p99: float
    provided: dict[str, Any]
    cpu: dict[str, float]
    strangers: float
    idle_mb: float
    memory_mb: float
    open_at_end: int
    stack_cpu: float = 0.0
    timelines: dict[str, list[dict[str, Any]]] | None = None


def refused(run: Run) -> int:
    return sum(caller["ended"] == REFUSED for caller in run.callers)


def turns_of(run: Run, *kinds: str) -> list[dict[str, Any]]:
    return [turn for caller in run.callers for turn in caller["turns"] if turn["measured"] and turn["kind"] in kinds]


def barge_ins_of(run: Run) -> list[dict[str, Any]]:
    return [one for caller in run.callers for one in caller["barge_ins"] if one["measured"]]


def added(run: Run, *kinds: str) -> list[float]:
    """Milliseconds beyond what the providers took, of each answered turn."""
    return [
        1000 * (turn["heard_at"] - turn["said_at"]) - FLOOR_MS
        for turn in turns_of(run, *kinds)
        if turn["heard_at"] is not None and turn["said_at"] is not None and not turn["cut_off"]
    ]


def doubts(run: Run) -> list[str]:
    """Why the run proves nothing; empty for one that counts."""
    every = [turn for caller in run.callers for turn in caller["turns"]]
    unanswered = sum(turn["heard_at"] is None for turn in every)
    uncleared = sum(one["cleared_at"] is None for caller in run.callers for one in caller["barge_ins"])
    sent = sum(caller["sent_bytes"] for caller in run.callers)
    received, lost = run.provided["received_bytes"], run.provided["lost_bytes"]
    gaps = sum(caller["gaps"] for caller in run.callers)
    learnt = run.provided["counters"].get("words-learnt-late", 0)
    ended = sorted({caller["ended"] for caller in run.callers} - {"by the caller", REFUSED})
    taken = run.calls - refused(run)
    reasons = {
        f"{sent - received} of {sent} bytes did not reach the recogniser": not 0 <= sent - received <= _LAST_BYTES * run.calls,
        f"{lost} bytes of speech reached the recogniser changed": lost > 0,
        f"{unanswered} of {len(every)} turns were not answered": unanswered > 0,
        f"{uncleared} barge-ins were not cleared": uncleared > 0,
        f"{gaps} gaps inside replies": gaps > 0,
        f"the voice had to learn {learnt} words": learnt > 0,
        f"{run.calls - taken} rings were refused": taken < run.calls,
        f"calls ended otherwise: {ended}": bool(ended),
        f"the callers were late themselves: p99 {1000 * run.late_p99:.1f} ms": run.late_p99 > _LATE_SECONDS,
        f"others used {run.strangers:.2f} cores": run.strangers > _FOREIGN_CORES,
        f"{taken - run.open_at_end} calls were lost": run.open_at_end < taken,
    }
    return [reason for reason, holds in reasons.items() if holds] + _doubts_of_log(run)


def _doubts_of_log(run: Run) -> list[str]:
    if run.timelines is None:
        return []
    asked = sum(len(caller["turns"]) for caller in run.callers)
    on_log = sum(entry["kind"] == "caller-turn" for entries in run.timelines.values() for entry in entries)
    ended = sum(entry["kind"] == "call-ended" for entries in run.timelines.values() for entry in entries)
    found = [f"{asked} turns were said, {on_log} are on the log"] if on_log < asked else []
    taken = run.calls - refused(run)
    return found + ([f"{taken} calls, {ended} ends on the log"] if ended != taken else [])


def to_first_sound(run: Run) -> list[float]:
    """From a final to the first sound of its answer at the caller, beyond what the providers took, in ms."""
    finals: dict[tuple[str, ...], list[float]] = {}
    for at, what, words in run.provided["notes"]:
        if what == "final" and number_in(words[:3]):
            finals.setdefault(tuple(words[:3]), []).append(at)
    found = []
    for caller in run.callers:
        times = finals.get(tuple(caller["number"].split()), [])
        for turn in caller["turns"]:
            if turn["measured"] and turn["kind"] in ("plain", "over") and turn["heard_at"] is not None and turn["said_at"] is not None:
                place = bisect_left(times, turn["heard_at"]) - 1
                if place >= 0 and times[place] > turn["said_at"]:
                    found.append(1000 * (turn["heard_at"] - times[place]) - TO_SOUND_MS)
    return found


def speculated(run: Run) -> tuple[list[float], list[float]]:
    """Milliseconds beyond the providers' of the turns for which an answer was thought ahead and used, and of the others."""
    hits: list[float] = []
    misses: list[float] = []
    used = {_number(entries): {entry["turn"] for entry in entries if _is_hit(entry)} for entries in (run.timelines or {}).values()}
    for caller in run.callers:
        found = used.get(tuple(caller["number"].split()), set())
        for number, turn in enumerate(caller["turns"], start=1):
            if turn["measured"] and turn["heard_at"] is not None and turn["said_at"] is not None and not turn["cut_off"]:
                beyond = 1000 * (turn["heard_at"] - turn["said_at"]) - FLOOR_MS
                (hits if number in found else misses).append(beyond)
    return hits, misses


def _number(entries: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    said = (words_of(entry["words"] or "") for entry in entries if entry["kind"] == "caller-turn")
    return next((number for words in said if (number := number_in(words))), ())


def _is_hit(entry: dict[str, Any]) -> bool:
    return bool(entry["kind"] == "answer-speculated" and entry["reason"] == "used")


def heard_truth(run: Run) -> list[int]:
    """For each barge-in how many words the model was told beyond those that had sounded; negative for fewer."""
    told: dict[str, list[tuple[float, list[str]]]] = {}
    for at, what, words in run.provided["notes"]:
        if what == "asked":
            told.setdefault(words[0], []).append((at, words[1:]))
    differences = []
    for caller in run.callers:
        asked = told.get(caller["number"], [])
        reply = words_of(REPLY)
        for one in caller["barge_ins"]:
            if one["measured"] and one["cleared_at"] is not None:
                later = [words for at, words in asked if one["cleared_at"] < at < one["cleared_at"] + 6]
                if later:
                    differences.append(_shared(reply, later[-1]) - one["words"])
    return differences


def _shared(reply: Sequence[str], words: Sequence[str]) -> int:
    for count, (one, two) in enumerate(zip(reply, words, strict=False)):
        if one != two:
            return count
    return min(len(reply), len(words))


def at(values: Sequence[float], percent: int) -> float | None:
    """A percentile, None of nothing."""
    if len(values) < 2:
        return round(values[0], 1) if values else None
    return round(statistics.quantiles(values, n=100, method="inclusive")[percent - 1], 1)


def figures(run: Run) -> list[Figure]:
    """What the run measured, against what is to be reached and what the rival reaches."""
    taken = max(1, run.calls - refused(run))
    minutes = taken * run.seconds / 60
    plain, greetings = added(run, "plain", "over"), [1000 * one["greeting"] for one in run.callers if one["greeting"] is not None]
    clears = [1000 * (one["cleared_at"] - one["spoke_at"]) for one in barge_ins_of(run) if one["cleared_at"] is not None]
    paused, truth, sounds = turns_of(run, "paused"), heard_truth(run), to_first_sound(run)
    facts = None
    if run.timelines:
        lasted_ms = sum(max((entry["at_ms"] or 0 for entry in entries), default=0) for entries in run.timelines.values())
        facts = 60_000 * sum(map(len, run.timelines.values())) / max(1, lasted_ms)
    cut = sum(turn["cut_off"] for turn in paused)
    hits, misses = speculated(run)
    voice = run.cpu.get("realtime", run.cpu.get("rival", 0.0))
    found = [
        _figure("cpu_seconds_per_call_minute", voice / minutes, "s", 0.25, 2.4, digits=3),
        _figure("cpu_seconds_per_call_minute_of_the_whole_product", sum(run.cpu.values()) / minutes, "s", None, digits=3),
        _figure(
            "cpu_seconds_per_call_minute_of_kafka_postgres_redis", run.stack_cpu / minutes if run.timelines else None, "s", None, digits=3
        ),
        _figure("facts_per_call_minute", facts, "", None),
        _figure("added_turn_latency_p50", at(plain, 50), "ms", 130, 150),
        _figure("added_turn_latency_p95", at(plain, 95), "ms", None),
        _figure("added_turn_latency_with_a_speculation_used_p50", at(hits, 50), "ms", 20),
        _figure("added_turn_latency_without_p50", at(misses, 50) if hits else None, "ms", None),
        _figure("speculations_used", 100 * len(hits) / len(hits + misses) if hits else None, "%", None, better="higher"),
        _figure("added_turn_latency_of_turns_with_a_pause_p50", at(added(run, "paused"), 50), "ms", None),
        _figure("false_cut_offs_at_inner_pauses", 100 * cut / len(paused) if paused else None, "%", 3),
        _figure("final_to_first_sound_p50", at(sounds, 50), "ms", 7, 30),
        _figure("final_to_first_sound_p99", at(sounds, 99), "ms", 20),
        _figure("barge_in_to_clear_p50", at(clears, 50), "ms", 200, 324),
        _figure("barge_in_to_clear_p95", at(clears, 95), "ms", None),
        _figure("start_to_greeting_p95", at(greetings, 95), "ms", 300),
        _figure("heard_truth_within_one_word", _share(truth, 1), "%", 95, 0, better="higher"),
        _figure("heard_truth_within_two_words", _share(truth, 2), "%", 100, None, better="higher"),
        _figure("gaps_inside_replies", float(sum(one["gaps"] for one in run.callers)), "", 0),
        _figure("memory_per_call", (run.memory_mb - run.idle_mb) / taken, "MB", 1, 23, digits=2),
        _figure("memory_of_the_voice_process", run.memory_mb, "MB", None),
    ]
    return [each for each in found if each.value is not None]


def _share(differences: Sequence[int], within: int) -> float | None:
    return 100 * sum(abs(each) <= within for each in differences) / len(differences) if differences else None


def _figure(
    name: str, value: float | None, unit: str, target: float | None, rival: float | None = None, *, better: str = "lower", digits: int = 1
) -> Figure:
    rounded = None if value is None else round(value, digits)
    reference = None if rival is None else RIVAL
    return Figure(figure=name, value=rounded, unit=unit, better=better, target=target, reference=reference, reference_value=rival)
