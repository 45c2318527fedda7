"""The demo business's tools: look for a free appointment, and book one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from infra.adapters.json_schema import ArgumentChecks
from infra.apps.demo_business.calendar import DAYS, PARTS_OF_DAY, Calendar, NoSuchDay
from realtime.ports import Json, Tool, ToolFailed, Tools, ToolSpec, ToolUse

log = structlog.get_logger()

_MOST_OFFERED: Final = 3
_DAY: Final = {"type": "string", "enum": [*DAYS, "weekend", "today", "tomorrow", "soonest"], "description": "The day wanted."}
_SERVICE: Final = {"type": "string", "description": "The treatment wanted, such as cleaning."}
_TIME: Final = {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$", "description": "Time of day, 24 hours."}

FIND: Final = Tool(
    spec=ToolSpec(
        name="find_appointments",
        description="Look for free appointments on a day.",
        input_schema={
            "type": "object",
            "properties": {"day": _DAY, "part_of_day": {"type": "string", "enum": [*PARTS_OF_DAY]}, "service": _SERVICE, "time": _TIME},
            "required": ["day"],
            "additionalProperties": False,
        },
    ),
    idempotent=True,
    timeout_ms=6000,
    fillers=("I'll look that up for you...", "Let me check a few things for you..."),
)
BOOK: Final = Tool(
    spec=ToolSpec(
        name="book_appointment",
        description="Book a free appointment for the caller, or move the one they have.",
        input_schema={
            "type": "object",
            "properties": {"day": _DAY, "time": _TIME, "service": _SERVICE, "purpose": {"type": "string", "enum": ["new", "move"]}},
            "required": ["day", "time"],
            "additionalProperties": False,
        },
    ),
    idempotent=False,
    timeout_ms=8000,
    fillers=("One moment, I'll write that into the calendar.",),
)
OFFERED: Final = {tool.spec.name: tool for tool in (FIND, BOOK)}


class CalendarTools:
    """`realtime.ports.Tools` over a calendar. The practice's system takes its time, `finding_seconds` for a look."""

    def __init__(
        self, calendar: Calendar, offered: Sequence[Tool] = tuple(OFFERED.values()), *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC), finding_seconds: float = 1.2, booking_seconds: float = 0.4,
    ) -> None:  # fmt: skip
        self._calendar, self._offered, self._now = calendar, tuple(offered), now
        self._finding_seconds, self._booking_seconds = finding_seconds, booking_seconds
        self._checks = ArgumentChecks([tool.spec for tool in self._offered])

    def offered(self) -> Sequence[Tool]:
        return self._offered

    def faults(self, use: ToolUse) -> str:
        return self._checks.faults(use)

    async def run(self, use: ToolUse, *, idempotency_key: str) -> Json:
        """Look or book. Raises ToolFailed."""
        if use.name not in {tool.spec.name for tool in self._offered}:
            raise ToolFailed(f"There is no tool {use.name}.")
        try:
            if use.name == FIND.spec.name:
                await asyncio.sleep(self._finding_seconds)
                return self._found(use.arguments)
            await asyncio.sleep(self._booking_seconds)
            return self._booked(use.arguments, idempotency_key)
        except NoSuchDay as cause:
            raise ToolFailed(str(cause)) from cause
        except KeyError as cause:
            raise ToolFailed(f"The argument {cause} is missing.") from cause

    def _found(self, wanted: Mapping[str, Json]) -> Json:
        now = self._now()
        date = self._calendar.date_of(str(wanted["day"]), now)
        times = self._calendar.free(date, now, str(wanted.get("part_of_day", "")))
        if wanted.get("time") in times:
            times = [str(wanted["time"])]
        day = DAYS[date.weekday()]
        return {"day": day, "date": date.date().isoformat(), "open": day != "sunday", "times": list(times[:_MOST_OFFERED])}

    def _booked(self, wanted: Mapping[str, Json], key: str) -> Json:
        now = self._now()
        date = self._calendar.date_of(str(wanted["day"]), now)
        booking = self._calendar.book(date, str(wanted["time"]), now, key=key)
        answer = {"day": booking.day, "date": booking.date, "time": booking.time}
        if booking.booked:
            return {**answer, "status": "booked", "moved": wanted.get("purpose") == "move"}
        return {**answer, "status": "taken", "times": list(self._calendar.free(date, now)[:_MOST_OFFERED])}


# Calls come and go; a practice's calendar stays for as long as the process.
_CALENDARS: Final[dict[str, Calendar]] = {}


def tools_for(organisation_id: str, configuration: Mapping[str, Any]) -> Tools:
    """The tools that a configuration names under `tools`, as far as this process has them."""
    named = [str(name) for name in configuration.get("tools") or ()]
    if unknown := [name for name in named if name not in OFFERED]:
        log.warning("tools.unknown", organisation_id=organisation_id, names=unknown)
    return CalendarTools(_CALENDARS.setdefault(organisation_id, Calendar()), [OFFERED[name] for name in named if name in OFFERED])
