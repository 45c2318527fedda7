"""The demo practice's appointments: the same free times every week, less what was booked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PARTS_OF_DAY: Final = ("morning", "afternoon")
_NOON: Final = "12:00"
_FREE: Final[Mapping[str, tuple[str, ...]]] = {
    "monday": ("10:30", "14:30", "16:30"),
    "tuesday": ("09:15", "11:30", "15:15"),
    "wednesday": ("08:30", "13:45", "16:30"),
    "thursday": ("10:30", "11:30", "14:30", "17:15"),
    "friday": ("09:15", "10:30", "13:45"),
    "saturday": ("09:15", "11:30"),
    "sunday": (),
}


class NoSuchDay(ValueError):
    """A day that is not in the calendar; the text is for the one who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """An appointment that was made, or was not because somebody else has the time."""

    day: str
    date: str
    time: str
    booked: bool


@dataclass(slots=True, kw_only=True)
class Calendar:
    """One practice's. Bookings are by key: the same key books once, whatever else it says the second time."""

    _bookings: dict[str, Booking] = field(default_factory=dict)
    _taken: set[tuple[str, str]] = field(default_factory=set)

    def date_of(self, day: str, now: datetime) -> datetime:
        """The next such day from now on; today counts until its last free time is over. Raises NoSuchDay."""
        named = day.strip().lower()
        if named == "today":
            return now
        if named == "tomorrow":
            return now + timedelta(days=1)
        if named == "soonest":
            return next((date for date in _days_from(now) if self.free(date, now)), now)
        if named == "weekend":
            named = "saturday"
        if named not in DAYS:
            raise NoSuchDay(f"There is no day {day!r}; days are {', '.join(DAYS)}, today, tomorrow and soonest.")
        days = [date for date in _days_from(now) if DAYS[date.weekday()] == named]
        return days[1] if days[0] == now and _FREE[named] and not self.free(now, now) else days[0]

    def free(self, date: datetime, now: datetime, part_of_day: str = "") -> Sequence[str]:
        """Free times of a day, the earliest first."""
        times = [time for time in _FREE[DAYS[date.weekday()]] if (date.date().isoformat(), time) not in self._taken]
        if date.date() == now.date():
            times = [time for time in times if time > now.strftime("%H:%M")]
        if part_of_day in PARTS_OF_DAY:
            times = [time for time in times if (time < _NOON) is (part_of_day == "morning")]
        return times

    def book(self, date: datetime, time: str, now: datetime, *, key: str) -> Booking:
        """Take a time; what was asked under this key before is answered as it was then."""
        if key in self._bookings:
            return self._bookings[key]
        day = date.date().isoformat()
        booking = Booking(day=DAYS[date.weekday()], date=day, time=time, booked=time in self.free(date, now))
        if booking.booked:
            self._taken.add((day, time))
        self._bookings[key] = booking
        return booking


def _days_from(now: datetime) -> list[datetime]:
    return [now + timedelta(days=ahead) for ahead in range(14)]
