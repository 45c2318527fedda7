"""Every reason for which a call can end is known, with whose fault it is; nothing else decides whether it is charged."""

import ast
from pathlib import Path

import pytest

from commands.calls.deciding import CALLS
from commands.calls.orders import EndCall
from events.calls.ending import CallEnded, EndedBy, Stage
from events.calls.reasons import ENDS, Fault, is_billable, promises_callback, table
from realtime.carrier.media_streams import Wrong
from realtime.machine.signals import Engine
from tests.commands.test_calls import ANSWERED, RECEIVED
from tests.realtime.scene import WORDING

REALTIME = Path(__file__).resolve().parents[2] / "realtime"
# Calls of these say why a call ends.
_SAYING = {"Ending", "media_ended", "_over", "never_connected", "end", "_end", "EndCall"}
# Ends of other things than calls: of a hold.
_OTHERS = {"ordered", "waited-long-enough"}


def said() -> dict[str, tuple[str, str]]:
    """Every reason in the source, with where it stands and the words of the call that says it."""
    found = {}
    for path in sorted(REALTIME.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in _SAYING:
                given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "reason")]
                for value in given:
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        found[value.value] = path.name, ast.unparse(node)
    return found


class TestReasons:
    def test_are_all_known(self) -> None:
        reasons = {*said(), *map(str, Wrong), *(f"{engine.value}-failed" for engine in Engine)}
        assert len(said()) > 10
        assert reasons - set(ENDS) - _OTHERS == set()

    def test_name_who_may_end_a_call_so(self) -> None:
        for reason, (_, text) in said().items():
            named = {by for by in EndedBy if f"EndedBy.{by.name}" in text}
            assert named <= ENDS[reason].by if reason in ENDS else True, text

    def test_stand_in_a_table(self) -> None:
        assert all(f"| `{reason}` |" in table() for reason in ENDS)


class TestACallBack:
    @pytest.mark.parametrize("reason", sorted(ENDS))
    def test_is_promised_in_words_and_on_the_log_or_neither(self, reason: str) -> None:
        call = CALLS.evolve(CALLS.evolve(CALLS.initial, RECEIVED), ANSWERED)
        end = EndCall(reason=reason, ended_by=EndedBy.PLATFORM, stage=Stage.GREETING, billable=False, duration_ms=1, recognition_ms=1)
        (fact,) = CALLS.decide(end, call)
        assert isinstance(fact, CallEnded)
        assert fact.callback_promised is (reason in {f"{engine.value}-failed" for engine in Engine})

    def test_is_promised_to_nobody_who_was_not_answered(self) -> None:
        assert not promises_callback("voice-failed", Stage.RINGING)
        assert not promises_callback("of an older program", Stage.CONVERSATION)

    def test_is_what_both_sentences_say(self) -> None:
        assert all("call you back" in words for words in (WORDING.cannot_go_on, WORDING.cannot_hear))


class TestIsBillable:
    @pytest.mark.parametrize("reason", sorted(ENDS))
    def test_follows_from_whose_fault_it_is(self, reason: str) -> None:
        charged = ENDS[reason].fault is Fault.NOBODY
        assert is_billable(reason, Stage.CONVERSATION, otherwise=not charged) is charged
        assert not is_billable(reason, Stage.RINGING, otherwise=True)

    def test_is_as_it_was_said_for_an_older_programs_reason(self) -> None:
        assert is_billable("long-forgotten", Stage.CONVERSATION, otherwise=True)
        assert not is_billable("long-forgotten", Stage.CONVERSATION, otherwise=False)

    def test_is_decided_where_the_end_is(self) -> None:
        call = CALLS.evolve(CALLS.evolve(CALLS.initial, RECEIVED), ANSWERED)
        for reason, claimed in (("goodbye", False), ("voice-failed", True), ("flooded", True)):
            end = EndCall(
                reason=reason, ended_by=EndedBy.PLATFORM, stage=Stage.CONVERSATION, billable=claimed, duration_ms=1, recognition_ms=1
            )
            (fact,) = CALLS.decide(end, call)
            assert isinstance(fact, CallEnded)
            assert fact.billable is (ENDS[reason].fault is Fault.NOBODY)
