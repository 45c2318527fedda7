"""What a caller keys in during a capture is nowhere: searched for in all that a call leaves behind, on real sockets with real tones."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog

from commands.rooms import DECIDERS
from events.calls.control import CaptureOutcome, DigitsCaptured
from events.sealing import Sealed
from infra.adapters.captured_digits import DigitVault
from infra.emulators.twilio.caller import Caller, Line
from infra.emulators.twilio.carrier import CarrierCall
from infra.emulators.twilio.keypad import heard_keys, pressing
from realtime.control.ports import DigitsGone
from realtime.ports import Json, ModelEvent, ModelRequest, ModelStopped, TextDelta, TokenUsage, Tool, ToolSpec, ToolUse
from realtime.rerun.stretches import unsealed
from tests.realtime.office import AUTH_TOKEN, CALLER, NUMBER, Desk, Office, open_office
from tests.realtime.world import PlainTools, spoken

CARD = "4929817364582046"
DONE = ModelStopped(reason="end_turn", usage=TokenUsage(input_tokens=50, output_tokens=10))
PAY = Tool(spec=ToolSpec(name="pay", description="pays", input_schema={"type": "object"}), idempotent=False, timeout_ms=3000, fillers=())
AGENT = {"greeting": "Hi.", "disclosure": "An AI.", "keypad": {"capture": True, "words": True}}


class Till(PlainTools):
    """A tool that redeems what was keyed in."""

    def __init__(self, vault: DigitVault) -> None:
        super().__init__(tools=(PAY,))
        self.vault = vault
        self.charged: list[str] = []

    async def run(self, use: ToolUse, *, idempotency_key: str) -> Json:
        self.charged.append(await self.vault.redeem(str(use.arguments["reference"])))
        return {"status": "paid"}


def thoughts(*, capturing: bool) -> Callable[[ModelRequest], Sequence[ModelEvent | float]]:
    """Has the card keyed in and charged. Not capturing, it asks for the number as any model without such a tool would."""

    def answer(request: ModelRequest) -> Sequence[ModelEvent | float]:
        last = request.messages[-1]
        words = last.text.rpartition("\n")[2]
        if "reference" in words and not any(outcome.tool_use_id == "p" for outcome in last.tool_outcomes):
            reference = words.rpartition("reference ")[2].removesuffix(".)")
            return [ToolUse(tool_use_id="p", name="pay", arguments={"reference": reference}), DONE]
        if last.tool_outcomes or "pressed" in words:
            return [TextDelta(text="Thank you."), DONE]
        wanted = ToolUse(tool_use_id="c", name="capture_digits", arguments={"label": "card number", "digits": 19})
        return [TextDelta(text="Key it in, then press hash."), *([wanted] if capturing else []), DONE]

    return answer


async def keyed_in(office: Office) -> CarrierCall:
    """The caller agrees to be recorded, wants to pay, and keys the card in."""
    lines = [_says("yes please"), _says("I want to pay please."), pressing(f"{CARD}#", after_silence_ms=400)]
    call = CarrierCall(
        webhook=office.webhook, account_sid="AC" + "0" * 32, auth_token=AUTH_TOKEN, number=NUMBER, caller_number=CALLER,
        caller=Caller(lines=lines, patience_ms=1500), to_ear=lambda *_: None,
    )  # fmt: skip
    async with asyncio.timeout(120):
        await call.place()
        await office.worker.idle()
    return call


def _says(text: str) -> Line:
    return Line(text=text, mulaw=spoken(text), after_silence_ms=400)


def left_behind(office: Office, logged: Sequence[Any]) -> str:
    """Everything that the call leaves behind, opened: every fact, every question to the model, every kept signal, every log line."""

    def plain(value: object) -> object:
        if isinstance(value, Sealed):
            return office.opened(value)
        return repr(value)

    facts = [fact for category in DECIDERS for fact in office.log.facts(category)]
    opened = [[plain(getattr(fact, name)) for name in fact.__slots__] for fact in facts]
    signals = [unsealed(content, office.keys) for content in office.signals.objects.values()]
    parts = [
        json.dumps(opened),
        repr(office.mind.requests),
        repr(office.log.streams),
        repr(logged),
        repr(office.voice.spoken),
        repr(signals),
    ]
    return "\n".join(parts)


def traces(text: str) -> list[str]:
    """The card's digits as one may meet them: together, apart, or in part."""
    spellings = (CARD, " ".join(CARD), ", ".join(CARD), CARD[:8], CARD[-8:], " ".join(CARD[:8]))
    return [spelling for spelling in spellings if spelling in text]


def recorded_keys(office: Office) -> str:
    return heard_keys(b"".join(piece.caller for piece in office.tape()))


def heard_by_recogniser(office: Office) -> str:
    return "".join(heard_keys(bytes(stream.audio)) for stream in office.ears.streams)


class TestACapture:
    async def test_leaves_no_digit_behind_and_gives_them_to_one_tool(self) -> None:
        vault = DigitVault()
        till = Till(vault)
        with structlog.testing.capture_logs() as logged:
            async with open_office(thoughts(capturing=True), tools=till, desk=Desk(configuration=AGENT), digits=vault) as office:
                await keyed_in(office)
        assert till.charged == [CARD]
        (fact,) = [fact for fact in office.log.facts("calls") if isinstance(fact, DigitsCaptured)]
        assert (fact.label, fact.count, fact.outcome) == ("card-number", 16, CaptureOutcome.COMPLETE)
        assert traces(left_behind(office, logged)) == []
        assert office.tape(), "it was recorded"
        assert recorded_keys(office) == ""
        assert heard_by_recogniser(office) == ""

    async def test_would_be_seen_to_leave_them_if_it_did(self) -> None:
        """The control: without a capture the same search finds them, on the log, in the questions, in both recordings."""
        with structlog.testing.capture_logs() as logged:
            async with open_office(thoughts(capturing=False), desk=Desk(configuration=AGENT), digits=DigitVault()) as office:
                await keyed_in(office)
        assert set(traces(left_behind(office, logged))) >= {" ".join(CARD), " ".join(CARD[:8])}
        assert recorded_keys(office) == f"{CARD}#"
        assert heard_by_recogniser(office) == f"{CARD}#"


class TestDigitVault:
    async def test_gives_them_once(self) -> None:
        vault = DigitVault()
        reference = await vault.keep("call_1", bytearray(b"1234"))
        assert "1234" not in reference
        assert await vault.redeem(reference) == "1234"
        with pytest.raises(DigitsGone):
            await vault.redeem(reference)

    @pytest.mark.parametrize("wrong", ["", "digits__", "digits_00_11", "1234"])
    async def test_gives_nothing_for_another_reference(self, wrong: str) -> None:
        vault = DigitVault()
        await vault.keep("call_1", bytearray(b"1234"))
        with pytest.raises(DigitsGone):
            await vault.redeem(wrong)

    async def test_forgets(self) -> None:
        now = [0.0]
        vault = DigitVault(lifetime_seconds=60, clock=lambda: now[0])
        reference = await vault.keep("call_1", bytearray(b"1234"))
        now[0] = 61.0
        with pytest.raises(DigitsGone):
            await vault.redeem(reference)

    async def test_cannot_open_its_own_boxes(self) -> None:
        vault = DigitVault()
        reference = await vault.keep("call_1", bytearray(b"1234"))
        assert reference.rpartition("_")[2] not in repr(vars(vault))
        assert "1234" not in repr(vars(vault))
