"""Which facts are told of one caller, while others ring too."""

import pytest

from events.consents import ConsentGranted, Purpose
from events.registry import Fact
from events.sealing import KeyRing
from events.streams import StreamId
from infra.apps.live import CallsOf
from tests.events.test_sealing import MASTER, KeysInMemory
from tests.projections.facts import answered, received
from tests.projections.told import AYB, told

MINE, OTHERS = "+12025550178", "+12025550187"


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing(MASTER, KeysInMemory())


def rang(ring: KeyRing, caller: str) -> Fact:
    return received(caller=ring.seal(f"{AYB}/{caller}", caller), caller_ref=caller[1:])


class TestCallsOf:
    def test_are_all_facts_of_a_call_from_that_number(self, ring: KeyRing) -> None:
        calls, stream = CallsOf(MINE, ring), StreamId(AYB, "calls", "call_1")
        assert [calls.concern(each) for each in told(stream, rang(ring, MINE), answered())] == [True, True]

    def test_are_none_of_a_call_from_another(self, ring: KeyRing) -> None:
        calls, stream = CallsOf(MINE, ring), StreamId(AYB, "calls", "call_2")
        assert [calls.concern(each) for each in told(stream, rang(ring, OTHERS), answered())] == [False, False]

    def test_are_what_that_caller_allowed_and_nobody_else(self, ring: KeyRing) -> None:
        calls = CallsOf(MINE, ring)
        for number, caller in enumerate((MINE, OTHERS)):
            for each in told(StreamId(AYB, "calls", f"call_{number}"), rang(ring, caller)):
                calls.concern(each)
        granted = ConsentGranted(subject=ring.seal(AYB, "who"), purpose=Purpose.RECORDING, evidence="turn 1")
        assert [calls.concern(each) for ref in (MINE[1:], OTHERS[1:]) for each in told(StreamId(AYB, "consents", ref), granted)] == [
            True,
            False,
        ]
