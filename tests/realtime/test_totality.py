"""Any signal may come in any state: nothing is raised, every promise holds, and all of it can be kept and had again."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.consent import recording_consent
from realtime.machine import closing
from realtime.machine import effects as do
from realtime.machine.effects import Effect
from realtime.machine.signals import Signal
from realtime.machine.state import CallState, Moment
from realtime.machine.stepping import step
from realtime.rerun import words
from realtime.speaking import playout
from realtime.speaking.playout import HeardPart, Speech, Utterance
from tests.realtime.test_machine import AGENT
from tests.realtime.wild import KINDS, anything, wild_call

_SEEDS = range(60)
_LENGTH = 150
LISTENER = words.listener(words.OURS)


def again(plain: Any) -> Any:
    """As it comes back from where it was kept."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain))


class TestAnySignalInAnyState:
    def test_breaks_no_promise_and_is_seen_in_a_call(self) -> None:
        thrown: set[type] = set()
        for seed in _SEEDS:
            thrown |= wild_call(seed, _LENGTH).alive
        assert set(KINDS) - thrown == set()

    @settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, 2**32), st.integers(1, 120))
    def test_breaks_no_promise_by_any_draw(self, seed: int, length: int) -> None:
        wild_call(seed, length)

    def test_gives_the_same_effects_and_an_equal_state_again(self) -> None:
        for seed in _SEEDS[:20]:
            watchman = wild_call(seed, _LENGTH)
            state = CallState(briefing=AGENT)
            for signal, effects in watchman.seen:
                state, now = step(state, signal)
                assert now == effects
            assert state == watchman.state


class TestEverything:
    def test_that_enters_the_machine_survives_being_kept(self) -> None:
        draw = random.Random(1)
        for kind in KINDS:
            taken: list[Signal] = [anything(draw, kind, 1000 + at) for at in range(30)]
            rows, _ = words.signal_rows(taken, 900)
            assert LISTENER.signals(again(rows), 900) == taken

    def test_that_comes_of_it_survives_being_kept(self) -> None:
        draw = random.Random(1)
        for kind in get_args(Effect):
            for at in range(30):
                effects: tuple[Effect, ...] = (anything(draw, kind, 1000 + at),)
                assert LISTENER.effects(words.effect_bytes(effects)) == effects
        for seed in _SEEDS[:10]:
            for _, effects in wild_call(seed, _LENGTH).seen:
                assert LISTENER.effects(words.effect_bytes(effects)) == effects

    def test_that_a_call_is_survives_being_kept(self) -> None:
        for seed in _SEEDS[:20]:
            for length in (0, 20, _LENGTH):
                state = wild_call(seed, length).state
                briefing = LISTENER.briefing(again(words.briefing_row(state.briefing)), AGENT.seal)
                assert LISTENER.state(again(words.state_row(state)), briefing) == state


# --- promises that are broken on purpose, and are seen to be -----------------------------------------------------------


def over_another(speech: Speech, samples: int, at_ms: int) -> tuple[Speech, Utterance | None]:
    return _ARRIVED(replace(speech, playout_end=0), samples, at_ms)


def same_generation(speech: Speech, at_ms: int) -> Speech:
    return replace(_SILENCED(speech, at_ms), generation=speech.generation)


def all_heard(speech: Speech, _at_ms: int) -> tuple[HeardPart, ...]:
    return tuple(HeardPart(utterance=one, words=f"{one.text} and more", exact=True) for one in speech.utterances)


def records_at_once(moment: Moment, *_: object) -> None:
    moment.do(do.StartRecorder(at_ms=moment.at_ms))


def records_on(moment: Moment, _reason: str) -> None:
    """A withdrawal that stops nothing."""


def ends_again(moment: Moment) -> None:
    if (ended := moment.state.ended) is not None:
        end = do.Finish(reason=ended.reason, ended_by=ended.ended_by, stage=moment.state.stage, billable=True, duration_ms=0)
        moment.do(end, end)


def raises(*_: object) -> None:
    raise ZeroDivisionError


_ARRIVED, _SILENCED = playout.arrived, playout.silenced
_BROKEN: tuple[tuple[object, str, Callable[..., Any], type[Exception]], ...] = (
    (playout, "arrived", over_another, AssertionError),
    (playout, "silenced", same_generation, AssertionError),
    (playout, "heard", all_heard, AssertionError),
    (recording_consent, "answer", records_at_once, AssertionError),
    (recording_consent, "_stop", records_on, AssertionError),
    (closing, "finish_when_possible", ends_again, AssertionError),
    (closing, "abandon", raises, ZeroDivisionError),
)


def many_calls() -> None:
    for seed in range(200):
        wild_call(seed, _LENGTH)


class TestABrokenPromise:
    @pytest.mark.parametrize(("where", "name", "instead", "seen_as"), _BROKEN, ids=[each[2].__name__ for each in _BROKEN])
    def test_is_seen(
        self, monkeypatch: pytest.MonkeyPatch, where: object, name: str, instead: Callable[..., Any], seen_as: type[Exception]
    ) -> None:
        monkeypatch.setattr(where, name, instead)
        with pytest.raises(seen_as):
            many_calls()
