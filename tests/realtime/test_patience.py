"""What a caller's pauses teach: how long they are waited for."""

from hypothesis import given
from hypothesis import strategies as st

from realtime.machine.briefing import Thresholds
from realtime.machine.signals import SpeechStarted, SpeechStopped, Timer, TimerFired, WordsRecognised
from realtime.turns.patience import Patience
from realtime.turns.turn_taking import Floor, TurnOver, step

USUAL = Thresholds()
STATEMENT = "I want to book a table."


class Caller:
    """One who says a statement, pauses, and goes on."""

    def __init__(self) -> None:
        self.floor, self.at_ms, self.decided = Floor(), 1000, list[TurnOver]()

    def says(self, words: str, *, lasting_ms: int = 1000) -> "Caller":
        self._told(SpeechStarted(at_ms=self.at_ms + 64, since_ms=self.at_ms))
        self.at_ms += lasting_ms
        began_ms = self.at_ms - lasting_ms
        ended_ms = self.at_ms
        self._told(SpeechStopped(at_ms=ended_ms + 90, ended_ms=ended_ms))
        self._told(
            WordsRecognised(
                at_ms=ended_ms + 190, text=words, is_final=True, from_finalize=True, start_ms=began_ms, end_ms=ended_ms, confidence=1.0
            )
        )
        return self

    def pauses(self, pause_ms: int) -> "Caller":
        self.at_ms += pause_ms
        return self

    def gives_the_floor(self, *, after_ms: int = 4000) -> "Caller":
        if self.floor.open:
            self._told(TimerFired(at_ms=self.at_ms + USUAL.most_patience_ms, timer=Timer.PATIENCE))
        return self.pauses(after_ms)

    def waited_for(self, *, whole: bool = False) -> int:
        return self.floor.patience.silence_ms(USUAL, whole=whole, open_end=False)

    def _told(self, signal: SpeechStarted | SpeechStopped | WordsRecognised | TimerFired) -> None:
        self.floor, outcome = step(self.floor, signal, USUAL, agent_talks=False)
        self.decided += [one for one in outcome if isinstance(one, TurnOver)]


class TestPatience:
    def test_is_the_versions_before_the_caller_has_spoken(self) -> None:
        assert Caller().waited_for() == USUAL.patience_ms
        assert Caller().waited_for(whole=True) == 0

    def test_grows_with_a_pause_within_a_turn(self) -> None:
        assert Caller().says(STATEMENT).pauses(780).says("for two.").waited_for() > USUAL.patience_ms

    def test_shrinks_with_turns_in_one_breath_down_to_its_bound(self) -> None:
        caller = Caller()
        for _ in range(3):
            caller.says(STATEMENT).gives_the_floor()
        assert USUAL.least_patience_ms < caller.waited_for() < USUAL.patience_ms
        for _ in range(9):
            caller.says(STATEMENT).gives_the_floor()
        assert caller.waited_for() == USUAL.least_patience_ms

    def test_does_not_learn_from_a_pause_across_the_agents_turn(self) -> None:
        caller = Caller().says("When are you open?").gives_the_floor(after_ms=USUAL.most_patience_ms + 1).says("And when do you close?")
        assert not caller.floor.patience.paused
        assert caller.waited_for(whole=True) == 0

    def test_learns_from_one_who_goes_on_right_after_their_turn_was_taken_for_over(self) -> None:
        caller = Caller().says("Are you open tomorrow?")
        assert len(caller.decided) == 1
        caller.pauses(600).says("or only on weekdays")
        assert caller.waited_for(whole=True) > 600

    def test_forgets_an_afterthought_when_no_other_comes(self) -> None:
        caller = Caller().says("Are you open tomorrow?").pauses(400).says("or on Sunday?").gives_the_floor()
        for _ in range(8):
            caller.says("Are you open tomorrow?").gives_the_floor()
        assert caller.waited_for(whole=True) == 0

    def test_waits_for_one_who_always_hesitates_also_where_a_sentence_could_end(self) -> None:
        caller = Caller()
        for _ in range(3):
            caller.says("I would like to").pauses(600).says("book a table.").gives_the_floor()
        assert caller.floor.patience.afterthought_ms == 0
        assert caller.waited_for(whole=True) > 600

    def test_learns_nothing_from_a_noise(self) -> None:
        caller = Caller().says(STATEMENT).pauses(700).says("")
        assert not caller.floor.patience.paused

    def test_learns_nothing_from_a_gap_within_a_word(self) -> None:
        assert not Caller().says(STATEMENT).pauses(120).says("for two.").floor.patience.paused

    @given(st.lists(st.tuples(st.integers(200, 5000), st.booleans(), st.booleans()), max_size=40))
    def test_stays_within_its_bounds_whatever_it_learns(self, lessons: list[tuple[int, bool, bool]]) -> None:
        patience = Patience()
        for pause_ms, whole, over in lessons:
            patience = patience.after_turn(USUAL, whole=whole) if over else patience.after_pause(pause_ms, whole=whole)
            assert 0 <= patience.silence_ms(USUAL, whole=True, open_end=False) <= USUAL.most_patience_ms
            assert USUAL.least_patience_ms <= patience.silence_ms(USUAL, whole=False, open_end=False) <= USUAL.most_patience_ms
            assert patience.silence_ms(USUAL, whole=False, open_end=True) >= USUAL.open_end_ms
