"""Whole calls in more than one language, on real sockets: another voice, another ear, no word lost, and the same again from the record."""

from collections.abc import Sequence
from dataclasses import replace

from events.calls.languages import ChosenBy, LanguageChanged
from events.calls.talking import CallerTurn
from realtime.ports import ModelEvent, ModelRequest, TextDelta, ToolUse
from tests.realtime.office import Desk, open_office
from tests.realtime.test_calls import DONE, SHORT, ring, says, thoughts

SPEAKS_SPANISH = Desk(
    configuration={
        **SHORT.configuration, "recording": {"ask": False},
        "voice": {"model": "aura-2-thalia-en", "by_language": {"es": "aura-2-celeste-es"}},
        "language": {"primary": "en-US", "supported": ["en-US", "es"], "wording": {"es": {"goodbye": "Adios."}}},
    }
)  # fmt: skip


def spanish_thoughts(request: ModelRequest) -> Sequence[ModelEvent | float]:
    last = request.messages[-1]
    if last.tool_outcomes:
        return [TextDelta(text="Claro que si."), DONE]
    if "spanish" in last.text:
        return [ToolUse(tool_use_id="l", name="speak_language", arguments={"language": "es"}), DONE]
    return thoughts(request)


class TestACall:
    async def test_goes_on_in_another_language_with_its_voice_and_its_recogniser(self) -> None:
        async with open_office(spanish_thoughts, desk=SPEAKS_SPANISH) as office:
            await ring(office, says("spanish please"), says("quisiera una cita bye"))
            (fact,) = [fact for fact in office.log.facts("calls") if isinstance(fact, LanguageChanged)]
            assert (fact.language, fact.instead_of, fact.by) == ("es", "en-US", ChosenBy.AGENT)
            assert office.voice.voices == ["aura-2-thalia-en", "aura-2-celeste-es"]
            assert [stream.language for stream in office.ears.streams] == ["en-US", "es"]
            assert "Claro que si." in office.voice.spoken
            said = [office.opened(fact.words) for fact in office.log.facts("calls") if isinstance(fact, CallerTurn)]
            assert said == ["spanish please", "quisiera una cita bye"]

    async def test_goes_on_in_the_language_in_which_its_caller_speaks(self) -> None:
        configuration = SPEAKS_SPANISH.configuration
        auto = replace(SPEAKS_SPANISH, configuration={**configuration, "language": {**configuration["language"], "auto_detect": True}})
        async with open_office(spanish_thoughts, desk=auto) as office:
            office.ears.foreign = dict.fromkeys(("quisiera", "una", "cita", "adios"), "es")
            await ring(office, says("quisiera una cita"), says("adios bye"))
            (fact,) = [fact for fact in office.log.facts("calls") if isinstance(fact, LanguageChanged)]
            assert (fact.language, fact.by, fact.turn, fact.told_words, fact.of_words) == ("es", ChosenBy.RECOGNISER, 1, 3, 3)
            assert office.voice.voices == ["aura-2-thalia-en", "aura-2-celeste-es"]
            assert [stream.language for stream in office.ears.streams] == ["en-US,es"], "it hears both all the time"
            assert any("es now" in request.messages[-1].text for request in office.mind.requests)
