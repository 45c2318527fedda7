"""Keys of the caller's telephone: words to the agent where it wants them, and a secret to everybody while they are captured."""

from itertools import pairwise

from events.calls.control import CaptureOutcome, DigitsCaptured
from events.calls.talking import CallerTurn
from realtime.control.keypad import Keypad
from realtime.machine import effects as do
from realtime.machine import signals
from realtime.machine.effects import BeginCapture
from realtime.ports import ToolUse
from tests.realtime.scene import Scene, briefing, opened

CARD = {"label": "Card number!", "digits": 16, "terminator": "#", "timeout_seconds": 10}
WANTS_WORDS = briefing(digits_as_words=True, ask_to_record=False)
CAPTURES = briefing(captures_digits=True, digits_as_words=True, ask_to_record=False)


def presses(scene: Scene, keys: str) -> Scene:
    for key in keys:
        scene.wait(300).tell(signals.DigitPressed, digit=key)
    return scene


def capturing(arguments: dict[str, object] | None = None, *, words: str = "Please key in your card number.") -> Scene:
    """The model has asked for digits, and the caller has heard it."""
    scene = Scene(CAPTURES).greeted().says("I want to pay please.").wait(10)
    scene.model_answers(words, ToolUse(tool_use_id="c", name="capture_digits", arguments=arguments or CARD))
    return scene


class TestOrdinaryKeys:
    def test_are_a_turn_of_the_callers(self) -> None:
        scene = presses(Scene(WANTS_WORDS).greeted(), "12").wait(1300)
        assert scene.request.messages[-1].text.endswith("(The caller pressed 1 2 on the keypad.)")
        assert [opened(turn.words) for turn in scene.fact(CallerTurn)] == ["(The caller pressed 1 2 on the keypad.)"]

    def test_stop_what_is_being_said(self) -> None:
        scene = Scene(WANTS_WORDS).begin().wait(500)
        assert not scene.all(do.ClearPlayout)
        scene.tell(signals.DigitPressed, digit="1")
        assert scene.all(do.ClearPlayout)

    def test_far_apart_are_two_turns(self) -> None:
        scene = presses(Scene(WANTS_WORDS).greeted(), "1").wait(1300)
        scene.model_answers("Sales, one moment.")
        presses(scene.hears_all(), "2").wait(1300)
        assert len(scene.fact(CallerTurn)) == 2


class TestCapture:
    def test_begins_when_the_model_asks_and_asks_it_nothing_meanwhile(self) -> None:
        scene = capturing()
        (begun,) = scene.all(do.BeginCapture)
        assert (begun.most, begun.terminator) == (16, "#")
        scene.hears_all()
        assert len(scene.all(do.AskModel)) == 1
        assert scene.spoken[-1] == "Please key in your card number."

    def test_has_words_of_its_own_where_the_model_says_none(self) -> None:
        scene = capturing(words="").hears_all()
        assert scene.spoken[-1] == scene.briefing.wording.key_in

    def test_tells_the_model_a_reference_and_the_log_a_number(self) -> None:
        scene = capturing().hears_all()
        scene.tell(signals.DigitSealed, count=16)
        scene.tell(signals.DigitsKept, capture=1, count=16, reference="digits_ab_cd")
        assert "16 digits for card-number" in scene.request.messages[-1].text
        assert "digits_ab_cd" in scene.request.messages[-1].text
        (fact,) = scene.fact(DigitsCaptured)
        assert (fact.label, fact.count, fact.outcome) == ("card-number", 16, CaptureOutcome.COMPLETE)

    def test_says_so_where_the_digits_could_not_be_kept(self) -> None:
        scene = capturing().hears_all()
        scene.tell(signals.DigitsKept, capture=1, count=16, reference="")
        assert "could not be taken" in scene.request.messages[-1].text
        assert scene.fact(DigitsCaptured)[0].outcome is CaptureOutcome.NOT_KEPT

    def test_ends_when_no_key_comes_for_too_long_after_the_agents_words(self) -> None:
        scene = capturing().hears_all()
        heard_ms = scene.at_ms
        while not scene.all(do.EndCapture):
            scene.wait(100)
        assert 9_000 <= scene.at_ms - heard_ms <= 20_000
        assert scene.fact(DigitsCaptured)[0].outcome is CaptureOutcome.TIMED_OUT
        assert "did not finish" in scene.request.messages[-1].text
        assert not any("still there" in text for text in scene.spoken)

    def test_goes_on_for_as_long_as_keys_come(self) -> None:
        scene = capturing().hears_all()
        for count in range(1, 16):
            scene.wait(9_000).tell(signals.DigitSealed, count=count)
        assert not scene.all(do.EndCapture)

    def test_is_over_once(self) -> None:
        scene = capturing().hears_all()
        scene.tell(signals.DigitsKept, capture=1, count=16, reference="r")
        asked = len(scene.all(do.AskModel))
        scene.tell(signals.DigitsKept, capture=1, count=16, reference="r2")
        assert len(scene.fact(DigitsCaptured)) == 1
        assert len(scene.all(do.AskModel)) == asked

    def test_is_refused_for_arguments_that_make_no_sense(self) -> None:
        wrong: tuple[dict[str, object], ...] = ({"digits": 0}, {"digits": 400}, {"digits": "16"}, {"digits": True}, {})
        for arguments in wrong:
            assert not capturing({"label": "x", **arguments}).all(do.BeginCapture)

    def test_has_a_label_that_tells_no_number(self) -> None:
        scene = capturing({"label": "4111111111111111", "digits": 16}).hears_all()
        scene.tell(signals.DigitsKept, capture=1, count=16, reference="r")
        assert scene.fact(DigitsCaptured)[0].label == "digits"

    def test_is_offered_only_where_the_agent_may(self) -> None:
        scene = Scene(WANTS_WORDS).greeted().says("I want to pay please.").wait(10)
        assert "capture_digits" not in {tool.name for tool in scene.request.tools}
        scene.model_answers("Key it in.", ToolUse(tool_use_id="c", name="capture_digits", arguments=CARD))
        assert not scene.all(do.BeginCapture)


class TestKeypad:
    """The shell's side: what the machine is told."""

    def setup_method(self) -> None:
        self.at_ms = 0
        self.told: list[signals.Signal] = []
        self.kept: list[tuple[int, str]] = []
        self.keypad = Keypad(self.told.append, lambda: self.at_ms, lambda n, d: self.kept.append((n, d.decode())), words=True)

    def press(self, keys: str) -> None:
        for key in keys:
            self.keypad.pressed(key)

    def test_tells_keys_outside_a_capture(self) -> None:
        self.press("12")
        assert [signal.digit for signal in self.told if isinstance(signal, signals.DigitPressed)] == ["1", "2"]

    def test_tells_nothing_where_the_agent_wants_no_keys(self) -> None:
        Keypad(self.told.append, lambda: 0, lambda _capture, _digits: None, words=False).pressed("1")
        assert self.told == []

    def test_tells_how_many_and_never_which_while_it_captures(self) -> None:
        self.keypad.begin(BeginCapture(capture=7, most=16, terminator="#"))
        self.press("4111#")
        assert self.told == [signals.DigitSealed(at_ms=0, count=count) for count in (1, 2, 3, 4, 4)]
        assert self.kept == [(7, "4111")]

    def test_ends_with_the_last_digit_asked_for(self) -> None:
        self.keypad.begin(BeginCapture(capture=1, most=4, terminator="#"))
        self.press("98765")
        assert self.kept == [(1, "9876")]
        assert all(isinstance(signal, signals.DigitSealed) for signal in self.told), "one key too many is nobody's business"

    def test_seals_the_sound_from_beginning_to_a_little_after_the_end(self) -> None:
        loud = b"\x00" * 160
        assert self.keypad.muted(loud) == loud
        self.keypad.begin(BeginCapture(capture=1, most=1, terminator="#"))
        assert self.keypad.muted(loud) == b"\xff" * 160
        self.press("9")
        self.at_ms += 900
        assert self.keypad.muted(loud) == b"\xff" * 160
        self.at_ms += 200
        assert self.keypad.muted(loud) == loud

    def test_forgets_what_was_not_finished(self) -> None:
        self.keypad.begin(BeginCapture(capture=1, most=9, terminator="#"))
        self.press("98")
        self.keypad.end()
        self.keypad.begin(BeginCapture(capture=2, most=2, terminator="#"))
        self.press("12")
        assert self.kept == [(2, "12")]

    def test_signals_come_in_the_order_of_the_keys(self) -> None:
        self.keypad.begin(BeginCapture(capture=1, most=9, terminator="#"))
        self.press("987")
        counts = [signal.count for signal in self.told if isinstance(signal, signals.DigitSealed)]
        assert all(one < two for one, two in pairwise(counts))
