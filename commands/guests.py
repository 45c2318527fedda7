"""Decides what a guest's program may add to its sequence: each aggregate's next versions, and progress that goes on only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from commands.decider import CommandRefused, Decider
from events.guests import GuestEvent, GuestEventStored, GuestProgressTracked


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGuestEvent:
    """An event as its program made it."""

    originator: str
    named: bool
    version: int
    topic: str
    state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreGuestEvents:
    """All of this or nothing. `dense`: an aggregate's versions have no gap; its first may be any."""

    events: tuple[NewGuestEvent, ...] = ()
    tracked: GuestProgressTracked | None = None
    dense: bool = True


GuestCommand: TypeAlias = StoreGuestEvents


class GuestVersionTaken(CommandRefused):
    """Somebody else has stored this version of the aggregate, or a later one."""

    code = "guest-version-taken"


class GuestVersionSkipped(CommandRefused):
    """The version before is not there."""

    code = "guest-version-skipped"


class GuestProgressBackward(CommandRefused):
    """This much of the other application was dealt with already."""

    code = "guest-progress-backward"


class Latest:
    """A map from names to numbers of which every older state can still be read. A change costs the same however large it is.

    The newest state holds the dictionary; an older one knows in what it differs from the one after it (H. Baker, "Shallow binding
    makes functional arrays fast", 1991). Reading an old state turns the chain round. The empty map is in no chain: it outlives them all.
    """

    __slots__ = ("differs", "numbers")

    def __init__(self, numbers: dict[str, int] | None = None) -> None:
        self.numbers = numbers
        self.differs: tuple[str, int | None, Latest] | None = None

    def get(self, name: str) -> int | None:
        return self._whole().get(name)

    def set(self, name: str, number: int) -> "Latest":
        if self.numbers is None and self.differs is None:
            return Latest({name: number})
        numbers = self._whole()
        after = Latest(numbers)
        self.differs, self.numbers = (name, numbers.get(name), after), None
        numbers[name] = number
        return after

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Latest) and dict(self._whole()) == other._whole()

    def __hash__(self) -> int:
        return hash(frozenset(self._whole().items()))

    def _whole(self) -> dict[str, int]:
        chain, holder = [], self
        while holder.differs is not None:
            chain.append((holder, *holder.differs))
            holder = holder.differs[2]
        numbers = {} if holder.numbers is None else holder.numbers
        for state, name, number, after in reversed(chain):
            after.differs, after.numbers = (name, numbers.get(name), state), None
            if number is None:
                del numbers[name]
            else:
                numbers[name] = number
            state.differs, state.numbers = None, numbers
        return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What of a sequence decides about more: how many events, each aggregate's last version, each application's progress."""

    count: int
    versions: Latest
    progress: Latest


def decide(command: GuestCommand, kept: Kept) -> Sequence[GuestEvent]:
    facts: list[GuestEvent] = []
    latest: dict[str, int] = {}
    for event in command.events:
        known = latest.get(event.originator, kept.versions.get(event.originator))
        if known is not None and event.version <= known:
            raise GuestVersionTaken(f"{event.originator} is at version {known}; version {event.version} cannot be stored any more")
        if command.dense and known is not None and event.version != known + 1:
            raise GuestVersionSkipped(f"{event.originator} is at version {known}; version {event.version} would leave a gap")
        latest[event.originator] = event.version
        facts.append(
            GuestEventStored(
                ordinal=kept.count + len(facts) + 1,
                originator=event.originator,
                named=event.named,
                version=event.version,
                topic=event.topic,
                state=event.state,
            )
        )
    if command.tracked is not None:
        reached = kept.progress.get(command.tracked.application)
        if reached is not None and command.tracked.notification <= reached:
            raise GuestProgressBackward(
                f"{command.tracked.application} was dealt with up to {reached}; {command.tracked.notification} is not after it"
            )
        facts.append(command.tracked)
    return facts


def evolve(kept: Kept, fact: GuestEvent) -> Kept:
    if isinstance(fact, GuestEventStored):
        return Kept(count=fact.ordinal, versions=kept.versions.set(fact.originator, fact.version), progress=kept.progress)
    return Kept(count=kept.count, versions=kept.versions, progress=kept.progress.set(fact.application, fact.notification))


NOTHING_KEPT = Kept(count=0, versions=Latest(), progress=Latest())
GUESTS: Decider[GuestCommand, Kept, GuestEvent] = Decider(
    room="guests", category="guests", initial=NOTHING_KEPT, decide=decide, evolve=evolve
)
