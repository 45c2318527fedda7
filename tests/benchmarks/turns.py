"""When turns end, by ear: offline voices with pauses of 300 to 800 ms, noise and echo, and how often and how late we take the floor.

    python -m tests.benchmarks.turns [--callers 56] [--seed 1]

Half of the callers hesitate in every turn that has a place for it, the others say the same in one breath. A cut-off is an answer that
begins to sound within a pause; a decision that is taken back before it sounds is counted beside it. Thinking and speaking ahead are as
the machine does them, within their bounds: an answer is held when it can be heard at the moment in which the turn is over.
"""

import argparse
import asyncio
import itertools
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from realtime.hearing import vad
from realtime.machine.briefing import Thresholds
from realtime.turns.phrases import looks_complete
from tests.benchmarks.figures import Figure, show
from tests.benchmarks.speech.listening import PROMPT, SLOW, Interims, Listener, Taken, Windows, heard_windows
from tests.benchmarks.speech.sentences import KNOWN, SECOND, Words
from tests.benchmarks.speech.sounds import LINES, SPEAKERS, Piece, Spoken, Voices
from tests.benchmarks.voice.scores import FLOOR_MS

_TURNS_A_CALL: Final = 12
_ANSWERED_WITHIN_MS: Final = 2600


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is tried. `naive`: words do not matter, the first final after the stop ends the turn."""

    name: str
    thresholds: Thresholds = field(default_factory=Thresholds)
    naive: bool = False
    interims: Interims = SLOW

    @property
    def hearing(self) -> vad.Thresholds:
        """As a voice worker makes them of an agent's."""
        stop_ms = self.thresholds.speech_stop_ms
        return vad.Thresholds(
            start_probability=self.thresholds.interruption_threshold,
            start_ms=self.thresholds.speech_start_ms,
            stop_ms=stop_ms + vad.ALONE_MS,
            quiet_ms=stop_ms,
        )

    @property
    def complete(self) -> Callable[[str], bool]:
        return (lambda _words: True) if self.naive else looks_complete


def naive(stop_ms: int) -> Rule:
    return Rule(name=f"a stop of {stop_ms} ms alone", thresholds=Thresholds(speech_stop_ms=stop_ms, most_patience_ms=0), naive=True)


USUAL: Final = Rule(name="as it stands")
PROMPTLY: Final = Rule(name="a prompt recogniser", interims=PROMPT)
RULES: Final = (
    USUAL,
    Rule(name="speech_stop_ms 64", thresholds=Thresholds(speech_stop_ms=64)),
    Rule(name="speech_stop_ms 128", thresholds=Thresholds(speech_stop_ms=128)),
    Rule(name="speech_stop_ms 224", thresholds=Thresholds(speech_stop_ms=224)),
    Rule(name="interruption_threshold 0.5", thresholds=Thresholds(interruption_threshold=0.5)),
    Rule(name="interruption_threshold 0.8", thresholds=Thresholds(interruption_threshold=0.8)),
    PROMPTLY,
    Rule(name="a prompt recogniser, no waiting", thresholds=Thresholds(answer_within_ms=0), interims=PROMPT),
    Rule(name="no waiting for the answer", thresholds=Thresholds(answer_within_ms=0)),
    Rule(name="patience_ms 500, least 300", thresholds=Thresholds(patience_ms=500, least_patience_ms=300)),
    Rule(name="patience_ms 1200, least 900", thresholds=Thresholds(patience_ms=1200, least_patience_ms=900)),
    Rule(name="complete_after_ms 400", thresholds=Thresholds(complete_after_ms=400)),
    Rule(name="complete_after_ms 800", thresholds=Thresholds(complete_after_ms=800)),
    Rule(name="open_end_ms 800", thresholds=Thresholds(open_end_ms=800)),
    naive(80),
    naive(300),
    naive(500),
    naive(800),
)


@dataclass(slots=True)
class Score:
    """What came of turns under a rule. `decided`: pauses in which the turn was taken for over, by whether it could have been."""

    pauses: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    decided: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    cut_off: int = 0
    turns: int = 0
    missed: int = 0
    added_ms: list[int] = field(default_factory=list)
    early_ms: list[int] = field(default_factory=list)
    held: int = 0
    drafts: int = 0
    finalizes: int = 0
    minutes: float = 0.0

    def take(self, pieces: Sequence[Piece], taken: Sequence[Taken]) -> None:
        """`taken`: the decisions from a turn's first sound to the next one's."""
        self.turns += 1
        for before, after in itertools.pairwise(pieces):
            fell = [one for one in taken if before.ended_ms < one.at_ms <= after.ended_ms]
            self.pauses[before.afterthought] += 1
            self.decided[before.afterthought] += bool(fell)
            self.cut_off += any(one.sounds_ms < after.began_ms for one in fell)
        ended_ms = pieces[-1].ended_ms
        last = next((one for one in taken if ended_ms <= one.at_ms <= ended_ms + _ANSWERED_WITHIN_MS), None)
        if last is None:
            self.missed += 1
        else:
            self.added_ms.append(last.sounds_ms - ended_ms - FLOOR_MS)
            if last.early:
                self.early_ms.append(self.added_ms[-1])
            self.held += last.draft is not None and last.sounds_ms == last.at_ms

    def decided_share(self, *, afterthought: bool) -> float:
        return _share(self.decided[afterthought], self.pauses[afterthought])

    @property
    def cut_off_share(self) -> float:
        return _share(self.cut_off, sum(self.pauses.values()))

    @property
    def held_share(self) -> float:
        return _share(self.held, self.turns)

    def added(self, percent: int) -> float:
        return _percentile(self.added_ms, percent)

    def early(self, percent: int) -> float:
        """Of the turns whose answer was begun before their words were final."""
        return _percentile(self.early_ms, percent)


def _percentile(values: Sequence[int], percent: int) -> float:
    return round(float(np.percentile(values, percent)), 1) if values else 0.0


def _share(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Calls as their lines bring them, and what the detector makes of each."""

    calls: Sequence[Spoken]
    windows: Sequence[Windows]

    def of(self, wanted: Callable[[Spoken], bool]) -> "Heard":
        chosen = [(call, windows) for call, windows in zip(self.calls, self.windows, strict=True) if wanted(call)]
        return Heard(calls=[call for call, _ in chosen], windows=[windows for _, windows in chosen])


def score(rule: Rule, heard: Heard, seed: int) -> Score:
    result = Score()
    for number, (call, windows) in enumerate(zip(heard.calls, heard.windows, strict=True)):
        # Drawn are the recogniser's whims only, the same ones for every rule.
        draws = random.Random(seed * 1000 + number)
        listener = Listener(
            call=call, thresholds=rule.thresholds, hearing=rule.hearing, draws=draws, complete=rule.complete, interims=rule.interims
        )
        taken = listener.run(windows)
        result.finalizes += listener.finalizes
        result.drafts += listener.drafts
        result.minutes += len(call.mulaw) / 8000 / 60
        starts = [pieces[0].began_ms for pieces in call.turns]
        for pieces, until_ms in zip(call.turns, [*starts[1:], 1 << 40], strict=True):
            result.take(pieces, [one for one in taken if pieces[0].began_ms <= one.at_ms < until_ms])
    return result


async def calls_of(source: Sequence[Words], callers: int, seed: int) -> Heard:
    """Calls of all speakers over all lines, in turn by one who hesitates and one who does not."""
    voices, draws, calls = Voices(), np.random.default_rng(seed), list[Spoken]()
    for number in range(callers):
        chosen = [source[int(at)] for at in draws.choice(len(source), min(_TURNS_A_CALL, len(source)), replace=False)]
        turns = chosen if number % 2 == 0 else [Words(pieces=(words.text,), afterthought=()) for words in chosen]
        pair = number // 2
        calls.append(await voices.call(SPEAKERS[pair % len(SPEAKERS)], turns, LINES[pair % len(LINES)], draws, hesitant=number % 2 == 0))
    return Heard(calls=calls, windows=await heard_windows(calls))


def table(title: str, rows: Sequence[tuple[str, Heard, Rule]], seed: int) -> None:
    shown = Table(title=title)
    for heading in (
        "",
        "cut off %",
        "decided % mid-thought",
        "… at an end",
        "missed",
        "added ms p50",
        "p90",
        "hesitant p50",
        "finals a minute",
        "held %",
        "drafts a turn",
    ):
        shown.add_column(heading)
    for name, heard, rule in rows:
        slow, quick = score(rule, heard.of(_hesitant), seed), score(rule, heard.of(_fluent), seed)
        finals = (slow.finalizes + quick.finalizes) / max(slow.minutes + quick.minutes, 0.01)
        turns, missed = slow.turns + quick.turns, slow.missed + quick.missed
        values = (
            slow.cut_off_share, slow.decided_share(afterthought=False), slow.decided_share(afterthought=True),
            f"{missed} of {turns}", quick.added(50), quick.added(90), slow.added(50), round(finals, 1),
            quick.held_share, round((slow.drafts + quick.drafts) / max(turns, 1), 2),
        )  # fmt: skip
        shown.add_row(name, *(str(value) for value in values))
    Console(stderr=True, width=140).print(shown)


def _hesitant(call: Spoken) -> bool:
    return call.hesitant


def _fluent(call: Spoken) -> bool:
    return not call.hesitant


def figures(heard: Heard, seed: int) -> list[Figure]:
    """The defaults, beside what a stop alone gives that is as safe, and one that is as quick."""
    slow, quick = score(USUAL, heard.of(_hesitant), seed), score(USUAL, heard.of(_fluent), seed)
    promptly, hesitant = score(PROMPTLY, heard.of(_fluent), seed), score(PROMPTLY, heard.of(_hesitant), seed)
    quick_stop, safe_stop = score(naive(80), heard.of(_hesitant), seed), score(naive(800), heard.of(_fluent), seed)
    as_quick, as_safe = "a stop of 80 ms alone", "a stop of 800 ms alone"
    decided = _share(sum(slow.decided.values()), sum(slow.pauses.values()))
    by_stop = _share(sum(quick_stop.decided.values()), sum(quick_stop.pauses.values()))
    turns, missed = slow.turns + quick.turns, slow.missed + quick.missed
    return [
        _figure("false_cut_offs", slow.cut_off_share, "%", 3, as_quick, quick_stop.cut_off_share),
        _figure("turns_taken_for_over_too_early", decided, "%", None, as_quick, by_stop),
        _figure("missed_turns", _share(missed, turns), "%", 0),
        _figure("added_turn_latency_p50", quick.added(50), "ms", 130, as_safe, safe_stop.added(50)),
        _figure("added_turn_latency_p90", quick.added(90), "ms", None, as_safe, safe_stop.added(90)),
        _figure("added_turn_latency_of_hesitant_callers_p50", slow.added(50), "ms", None),
        _figure("answers_held_at_the_end_of_the_turn", quick.held_share, "%", None, better="higher"),
        _figure(
            "added_turn_latency_begun_before_the_final_p50",
            promptly.early(50),
            "ms",
            20,
        ),
        _figure("answers_begun_before_the_final", _share(len(promptly.early_ms), promptly.turns), "%", None, better="higher"),
        _figure("false_cut_offs_with_a_prompt_recogniser", hesitant.cut_off_share, "%", 3),
        _figure("answers_begun_a_turn", round((slow.drafts + quick.drafts) / max(turns, 1), 2), "", None),
    ]


def _figure(
    name: str, value: float, unit: str, target: float | None, reference: str | None = None, of: float | None = None, *,
    better: str = "lower",
) -> Figure:  # fmt: skip
    return Figure(figure=name, value=value, unit=unit, better=better, target=target, reference=reference, reference_value=of)


async def measure(callers: int, seed: int) -> None:
    for name, source in (("known sentences", KNOWN), ("second set", SECOND)):
        heard = await calls_of(source, callers, seed)
        table(f"turns: {name}, by threshold", [(rule.name, heard, rule) for rule in RULES], seed)
        by_line = [(line.name, heard.of(lambda call, line=line: call.line == line.name), USUAL) for line in LINES]  # type: ignore[misc]
        by_voice = [(each.name, heard.of(lambda call, each=each: call.speaker == each.name), USUAL) for each in SPEAKERS]  # type: ignore[misc]
        table(f"turns: {name}, by line and voice", [*by_line, *by_voice], seed)
        pauses = sum(len(pieces) - 1 for call in heard.calls for pieces in call.turns)
        show("turns", name, figures(heard, seed), sentences=name, callers=callers, pauses=pauses)


def main() -> None:
    """Tables for people on standard error, a line of JSON for each figure on standard output."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--callers", type=int, default=56)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    asyncio.run(measure(wanted.callers, wanted.seed))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
