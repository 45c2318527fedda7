"""An AI says that it is one, first, and until that was heard."""

from events.calls.talking import DisclosureSpoken, Evidence
from realtime.machine import effects as do
from realtime.machine import signals
from tests.realtime.scene import WORDING, Scene


class TestDisclosure:
    def test_is_the_first_thing_said(self) -> None:
        assert Scene().begin().spoken[0] == WORDING.disclosure

    def test_is_a_fact_once_its_mark_came_back_as_played(self) -> None:
        scene = Scene().begin().wait(1000)
        assert scene.fact(DisclosureSpoken) == []
        scene.hears_all()
        (fact,) = scene.fact(DisclosureSpoken)
        (mark,) = [effect.name for effect in scene.all(do.SendMark)][:1]
        assert mark == "g1:u1:end"
        assert (fact.started_ms, fact.evidence, fact.attempt) == (40, Evidence.PLAYED, 1)
        assert fact.heard_ms >= fact.started_ms + len(WORDING.disclosure) * 500 // 8

    def test_is_no_fact_when_its_mark_was_thrown_back_by_a_clear(self) -> None:
        scene = Scene().begin().wait(1000)
        scene.starts_speaking().wait(1000)
        assert scene.all(do.PausePlayout)
        scene.falls_silent("hello who is there please").wait(500)
        assert scene.fact(DisclosureSpoken) == []

    def test_is_spoken_again_before_the_next_reply_when_it_was_interrupted(self) -> None:
        scene = Scene().begin().wait(1000)
        scene.says("hello who is there please").wait(500)
        scene.model_answers("I am here.").hears_all()
        assert scene.spoken.count(WORDING.disclosure) == 2
        assert scene.spoken.index("I am here.") > len(scene.spoken) - 1 - scene.spoken[::-1].index(WORDING.disclosure)
        (fact,) = scene.fact(DisclosureSpoken)
        assert fact.attempt == 2

    def test_is_said_once_when_it_was_heard(self) -> None:
        scene = Scene().agreed()
        scene.says("when are you open please").wait(1).model_answers("At nine.").hears_all()
        assert scene.spoken.count(WORDING.disclosure) == 1

    def test_is_proven_by_no_mark_that_comes_back_before_its_audio_can_have_played(self) -> None:
        scene = Scene(carrier_plays=False).begin().wait(100)
        scene.tell(signals.MarkReturned, name="g1:u1:end")
        assert scene.fact(DisclosureSpoken) == []

    def test_is_proven_by_no_clock(self) -> None:
        scene = Scene(carrier_plays=False).begin().wait(30_000)
        assert scene.state.reply is None or scene.state.reminders
        assert scene.fact(DisclosureSpoken) == []
