"""The demo business: a configuration that the platform accepts, and a calendar that books a time once."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from commands.agent_configuration import read_configuration
from infra.apps.demo_business.calendar import Calendar
from infra.apps.demo_business.opening import configuration
from infra.apps.demo_business.tools import OFFERED, CalendarTools, tools_for
from realtime.ports import Json, ToolFailed, ToolUse

FRIDAY = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def tools(calendar: Calendar | None = None, now: datetime = FRIDAY) -> CalendarTools:
    return CalendarTools(calendar or Calendar(), now=lambda: now, finding_seconds=0, booking_seconds=0)


async def run(tools: CalendarTools, name: str, key: str = "k", **arguments: Json) -> Any:
    Draft202012Validator(dict(OFFERED[name].spec.input_schema)).validate(arguments)
    return await tools.run(ToolUse(tool_use_id="t", name=name, arguments=arguments), idempotency_key=key)


class TestConfiguration:
    def test_is_one_that_agents_have(self) -> None:
        read = read_configuration(json.dumps(configuration()))
        assert read.automation.tools_enabled
        assert 80 <= len(read.extra["vocabulary"]) <= 150


class TestFindAppointments:
    async def test_offers_the_free_times_of_a_day(self) -> None:
        found = await run(tools(), "find_appointments", day="tuesday", part_of_day="morning")
        assert found == {"day": "tuesday", "date": "2026-11-24", "open": True, "times": ["09:15", "11:30"]}

    async def test_offers_nothing_that_is_over(self) -> None:
        assert (await run(tools(), "find_appointments", day="today"))["times"] == ["10:30", "13:45"]
        late = FRIDAY.replace(hour=20)
        assert (await run(tools(now=late), "find_appointments", day="friday"))["date"] == "2026-11-27"
        assert (await run(tools(now=late), "find_appointments", day="soonest"))["day"] == "saturday"

    async def test_says_when_the_practice_is_closed(self) -> None:
        assert await run(tools(), "find_appointments", day="sunday") == {"day": "sunday", "date": "2026-11-22", "open": False, "times": []}

    async def test_fails_for_a_day_that_is_none(self) -> None:
        with pytest.raises(ToolFailed, match="no day 'someday'"):
            await tools().run(ToolUse(tool_use_id="t", name="find_appointments", arguments={"day": "someday"}), idempotency_key="k")
        with pytest.raises(ToolFailed, match="missing"):
            await tools().run(ToolUse(tool_use_id="t", name="find_appointments", arguments={}), idempotency_key="k")


class TestBookAppointment:
    async def test_books_once_for_one_key(self) -> None:
        calendar = Calendar()
        first = await run(tools(calendar), "book_appointment", "call:1:t", day="tuesday", time="09:15")
        again = await run(tools(calendar), "book_appointment", "call:1:t", day="tuesday", time="09:15")
        assert first == again
        assert first["status"] == "booked"
        assert (await run(tools(calendar), "find_appointments", day="tuesday"))["times"] == ["11:30", "15:15"]

    async def test_gives_a_time_to_one_caller_only(self) -> None:
        calendar = Calendar()
        await run(tools(calendar), "book_appointment", "call:1:t", day="tuesday", time="09:15")
        second = await run(tools(calendar), "book_appointment", "call:2:t", day="tuesday", time="09:15")
        assert (second["status"], second["times"]) == ("taken", ["11:30", "15:15"])

    async def test_books_every_time_that_is_free_and_no_other(self) -> None:
        assert (await run(tools(), "book_appointment", day="thursday", time="17:15"))["status"] == "booked"
        assert (await run(tools(), "book_appointment", day="thursday", time="03:00"))["status"] == "taken"


class TestToolsFor:
    @pytest.mark.parametrize(
        ("configuration", "names"),
        [
            ({"tools": ["find_appointments", "book_appointment"]}, ["find_appointments", "book_appointment"]),
            ({"tools": ["find_appointments", "order_pizza"]}, ["find_appointments"]),
            ({}, []),
        ],
    )
    def test_gives_the_tools_that_are_named_and_known(self, configuration: Mapping[str, Any], names: list[str]) -> None:
        assert [tool.spec.name for tool in tools_for("org_1", configuration).offered()] == names

    async def test_runs_no_tool_that_is_not_offered(self) -> None:
        with pytest.raises(ToolFailed):
            await tools_for("org_1", {}).run(ToolUse(tool_use_id="t", name="book_appointment", arguments={}), idempotency_key="k")

    def test_only_looking_may_be_repeated(self) -> None:
        assert {name: tool.idempotent for name, tool in OFFERED.items()} == {"find_appointments": True, "book_appointment": False}
