"""Arguments of tools are held to their schemas, in words that a model can use."""

import pytest

from infra.adapters.json_schema import ArgumentChecks, BrokenSchema
from infra.apps.demo_business.calendar import Calendar
from infra.apps.demo_business.tools import BOOK, FIND, CalendarTools
from realtime.machine.briefing import Tongue
from realtime.ports import Json, ToolSpec, ToolUse
from realtime.thinking.tooling import offered
from tests.realtime.scene import WORDING, briefing


def use(name: str, **arguments: Json) -> ToolUse:
    return ToolUse(tool_use_id="t1", name=name, arguments=arguments)


def checks(schema: dict[str, Json]) -> ArgumentChecks:
    return ArgumentChecks([ToolSpec(name="find", description="", input_schema=schema)])


class TestArgumentChecks:
    def test_find_no_fault_with_what_fits(self) -> None:
        tools = CalendarTools(Calendar())
        assert tools.faults(use(BOOK.spec.name, day="tuesday", time="09:15")) == ""

    @pytest.mark.parametrize(
        ("arguments", "fault"),
        [
            ({"day": "tuesday"}, "'time' is a required property"),
            ({"day": "tuesday", "time": "nine"}, "time: 'nine' does not match"),
            ({"day": "someday", "time": "09:15"}, "day: 'someday' is not one of"),
            ({"day": "tuesday", "time": "09:15", "price": 0}, "Additional properties are not allowed"),
        ],
    )
    def test_say_what_does_not_fit_and_where(self, arguments: dict[str, Json], fault: str) -> None:
        assert fault in CalendarTools(Calendar(), [FIND, BOOK]).faults(use(BOOK.spec.name, **arguments))

    def test_leave_tools_of_others_to_others(self) -> None:
        assert checks({"type": "object"}).faults(use("fly", high=1)) == ""

    def test_are_short_however_long_the_argument_is(self) -> None:
        assert len(checks({"properties": {"day": {"type": "integer"}}}).faults(use("find", day="x" * 10_000))) < 400

    def test_refuse_a_schema_that_is_none(self) -> None:
        with pytest.raises(BrokenSchema, match="find"):
            checks({"type": "thing"})

    def test_fetch_nothing(self) -> None:
        assert "not there" in checks({"$ref": "http://127.0.0.1:9/schema.json"}).faults(use("find"))


class TestToolsOfTheCallItself:
    def test_are_held_to_their_schemas_as_well(self) -> None:
        tongues = {tag: Tongue(language=tag, voice="v", wording=WORDING) for tag in ("en-US", "es")}
        own = ArgumentChecks(offered(briefing(tongues=tongues)))
        assert own.faults(use("speak_language", language="es")) == ""
        assert "'de' is not one of" in own.faults(use("speak_language", language="de"))
        assert "is a required property" in own.faults(use("speak_language"))
