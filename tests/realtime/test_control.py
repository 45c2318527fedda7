"""A caller is put through, or waits on the line, and the call's end says which."""

import pytest

from commands.consents import RevokeConsent
from events.calls.control import CallTransferred, HoldBegan, HoldEnded, HoldEndOrdered, HoldOrdered, TransferFailed, TransferOrdered
from events.calls.ending import EndedBy
from events.calls.talking import CallerTurn
from events.consents import Purpose
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.ports import ToolUse
from tests.realtime.scene import Scene, briefing, opened, tool

DESK = {"front desk": "+15550111"}
AGENT = briefing(destinations=DESK, ask_to_record=False)
ORDERED = TransferOrdered(destination="front desk", reason="asked for a person")


def asked(destination: str = "front desk", words: str = "I will put you through.") -> Scene:
    """The model puts the caller through."""
    scene = Scene(AGENT).greeted().says("I want a person please.").wait(10)
    return scene.model_answers(words, ToolUse(tool_use_id="t", name="transfer_call", arguments={"destination": destination}))


def dialled(scene: Scene) -> list[str]:
    return [effect.number for effect in scene.all(do.Transfer)]


class TestTransfer:
    def test_happens_after_the_words_said_with_it(self) -> None:
        scene = asked()
        assert dialled(scene) == []
        scene.hears_all()
        assert dialled(scene) == ["+15550111"]
        assert not scene.over

    def test_is_announced_where_the_model_says_nothing(self) -> None:
        scene = asked(words="").hears_all()
        assert scene.spoken[-1] == scene.briefing.wording.putting_through

    def test_ends_the_call_when_the_carrier_has_taken_our_stream(self) -> None:
        scene = asked().hears_all()
        scene.tell(signals.PutThrough)
        assert not scene.over
        scene.hangs_up()
        assert (scene.end.reason, scene.end.ended_by, scene.end.billable) == ("transferred", EndedBy.AGENT, True)
        (fact,) = scene.fact(CallTransferred)
        assert (fact.destination, opened(fact.number), fact.by) == ("front desk", "+15550111", EndedBy.AGENT)
        assert not scene.all(do.HangUp), "that would be to hang up on the two who talk"

    def test_may_be_answered_after_our_stream_has_ended(self) -> None:
        scene = asked().hears_all().hangs_up()
        assert not scene.over
        scene.tell(signals.PutThrough)
        assert scene.end.reason == "transferred"
        assert len(scene.fact(CallTransferred)) == 1

    def test_does_not_hang_up_on_the_two_when_our_stream_stays(self) -> None:
        scene = asked().hears_all()
        scene.tell(signals.PutThrough)
        scene.wait(6_000)
        assert scene.end.reason == "transferred"
        assert scene.all(do.CloseMedia)
        assert not scene.all(do.HangUp)

    @pytest.mark.parametrize("answers", [True, False])
    def test_that_fails_leaves_the_caller_with_the_agent(self, *, answers: bool) -> None:
        scene = asked().hears_all()
        if answers:
            scene.tell(signals.PutThrough, failure="carrier-error-21219")
        else:
            scene.wait(11_000)
        (fact,) = scene.fact(TransferFailed)
        assert fact.reason == ("carrier-error-21219" if answers else "no-answer-in-time")
        assert scene.spoken[-1] == scene.briefing.wording.not_put_through
        scene.hears_all().says("what are your hours?").wait(10)
        assert "hours" in scene.request.messages[-1].text

    def test_that_fails_after_the_caller_has_gone_is_a_call_that_the_caller_ended(self) -> None:
        scene = asked().hears_all().hangs_up()
        scene.tell(signals.PutThrough, failure="call-not-in-progress")
        assert (scene.end.reason, scene.end.ended_by) == ("caller-hung-up", EndedBy.CALLER)

    def test_to_nobody_of_ours_is_refused(self) -> None:
        scene = asked("the white house").hears_all()
        assert dialled(scene) == []
        assert "no such destination" in str(scene.request.messages)

    def test_is_not_offered_without_destinations(self) -> None:
        scene = Scene(briefing(ask_to_record=False)).greeted().says("I want a person please.").wait(10)
        assert "transfer_call" not in {each.name for each in scene.request.tools}

    def test_ordered_from_outside_comes_after_a_sentence(self) -> None:
        scene = Scene(AGENT).greeted()
        scene.tell(signals.FactRecorded, fact=ORDERED, version=9)
        scene.hears_all()
        assert scene.spoken[-1] == scene.briefing.wording.putting_through
        assert dialled(scene) == ["+15550111"]
        scene.tell(signals.PutThrough)
        scene.hangs_up()
        assert scene.end.ended_by is EndedBy.OPERATOR

    def test_ordered_to_nobody_of_ours_is_a_fact(self) -> None:
        scene = Scene(AGENT).greeted()
        scene.tell(signals.FactRecorded, fact=TransferOrdered(destination="nobody", reason="x"), version=9)
        assert scene.fact(TransferFailed)[0].reason == "unknown-destination"

    def test_is_once(self) -> None:
        scene = asked().hears_all()
        scene.tell(signals.FactRecorded, fact=ORDERED, version=9)
        scene.tell(signals.PutThrough)
        scene.tell(signals.PutThrough)
        assert len(dialled(scene)) == len(scene.fact(CallTransferred)) == 1


def held(scene: Scene | None = None) -> Scene:
    scene = scene or Scene(briefing(ask_to_record=False)).greeted()
    scene.tell(signals.FactRecorded, fact=HoldOrdered(reason="asks"), version=9)
    return scene


class TestHold:
    def test_begins_and_ends_with_a_sentence_and_a_fact(self) -> None:
        scene = held().hears_all()
        assert scene.spoken[-1] == scene.briefing.wording.please_hold
        scene.tell(signals.FactRecorded, fact=HoldEndOrdered(reason="knows"), version=10)
        scene.hears_all()
        assert scene.spoken[-1] == scene.briefing.wording.back_from_hold
        assert len(scene.fact(HoldBegan)) == 1
        assert [fact.reason for fact in scene.fact(HoldEnded)] == ["ordered"]

    def test_answers_nothing_and_keeps_what_was_said(self) -> None:
        scene = held().hears_all().says("is anybody there?").wait(2000)
        assert not scene.all(do.AskModel)
        assert len(scene.fact(CallerTurn)) == 1
        scene.tell(signals.FactRecorded, fact=HoldEndOrdered(reason="knows"), version=10)
        assert "is anybody there" in scene.request.messages[-1].text

    def test_answers_afterwards_though_the_caller_was_told_to_wait_since(self) -> None:
        scene = held().hears_all().says("is anybody there?").wait(2000)
        scene.wait(21_000).hears_all()
        assert scene.spoken[-1] == scene.briefing.wording.still_on_hold
        scene.tell(signals.FactRecorded, fact=HoldEndOrdered(reason="knows"), version=10)
        assert any("is anybody there" in message.text for message in scene.request.messages)

    def test_does_not_forget_the_caller_and_does_not_hang_up_on_them(self) -> None:
        scene = held()
        for _ in range(10):
            scene.hears_all().wait(21_000)
        assert scene.spoken.count(scene.briefing.wording.still_on_hold) >= 5
        assert not scene.over

    def test_lasts_no_longer_than_allowed(self) -> None:
        scene = held().wait(310_000)
        assert [fact.reason for fact in scene.fact(HoldEnded)] == ["waited-long-enough"]

    def test_hears_a_withdrawal(self) -> None:
        scene = held(Scene().agreed()).hears_all().says("please stop recording")
        assert scene.all(do.StopRecorder)
        commands = [effect.command for effect in scene.all(do.Note)]
        assert [command.purpose for command in commands if isinstance(command, RevokeConsent)] == [Purpose.RECORDING]

    def test_keeps_a_late_answer_of_a_tool_for_afterwards(self) -> None:
        slow = briefing(tools=(tool("book_slot", idempotent=False),), ask_to_record=False)
        scene = Scene(slow).greeted().says("book it please.").wait(10)
        scene.model_answers("", ToolUse(tool_use_id="b", name="book_slot", arguments={}))
        scene = held(scene.wait(100)).hears_all()
        scene.tell(signals.ToolReturned, tool_use_id="b", content="booked", failed=False)
        asked_before = len(scene.all(do.AskModel))
        scene.tell(signals.FactRecorded, fact=HoldEndOrdered(reason="knows"), version=10)
        assert len(scene.all(do.AskModel)) == asked_before + 1
        assert "booked" in str(scene.request.messages)
