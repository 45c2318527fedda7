"""The `eventsourcing` library's recorders over one sequence of our log."""

from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)

from commands.guests import NewGuestEvent, StoreGuestEvents
from events.guests import GuestEventStored, GuestProgressTracked
from infra.adapters.eventsourcing_log.lodging import Lodging
from infra.adapters.eventsourcing_log.residence import Residence

_PAGE = 500


class LogRecorder:
    """One purpose's sequence. `dense`: what is stored of an aggregate may have no gap, as events; snapshots have gaps."""

    def __init__(self, residence: Residence, purpose: str) -> None:
        self.residence = residence
        self.sequence = residence.lease.sequence(purpose)
        self.dense = purpose != "snapshots"

    def store(self, stored_events: Sequence[StoredEvent], tracking: Tracking | None = None) -> Sequence[int]:
        """Everything in one commit, or nothing; returns the events' numbers."""
        command = StoreGuestEvents(
            events=tuple(map(_new, stored_events)),
            tracked=None
            if tracking is None
            else GuestProgressTracked(application=tracking.application_name, notification=tracking.notification_id),
            dense=self.dense,
        )
        if not command.events and command.tracked is None:
            return []
        return self.residence.ask(lambda lodging: lodging.store(self.sequence, command))


class LogAggregateRecorder(LogRecorder, AggregateRecorder):
    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        self.store(stored_events)
        return None

    def select_events(
        self, originator_id: UUID | str, *, gt: int | None = None, lte: int | None = None, desc: bool = False, limit: int | None = None
    ) -> Sequence[StoredEvent]:
        async def select(lodging: Lodging) -> Sequence[GuestEventStored]:
            index = await lodging.caught_up(self.sequence)
            numbers = index.of(str(originator_id), gt, lte)
            return await lodging.events(index, (numbers[::-1] if desc else numbers)[:limit])

        return [
            StoredEvent(originator_id=_originator(event), originator_version=event.version, topic=event.topic, state=event.state)
            for event in self.residence.ask(select)
        ]


class LogApplicationRecorder(LogAggregateRecorder, ApplicationRecorder):
    """A notification's id is the event's number in the application's sequence: from 1, without a gap, in the order of the log."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self.store(stored_events)

    def select_notifications(
        self, start: int | None, limit: int, stop: int | None = None, topics: Sequence[str] = (), *, inclusive_of_start: bool = True
    ) -> Sequence[Notification]:
        first = max(1, (start or 0) + (not inclusive_of_start and start is not None))

        async def select(lodging: Lodging) -> Sequence[GuestEventStored]:
            index = await lodging.caught_up(self.sequence)
            last = len(index.offsets) if stop is None else min(stop, len(index.offsets))
            return await lodging.page(index, first, last, limit, topics)

        return list(map(_notification, self.residence.ask(select)))

    def max_notification_id(self) -> int | None:
        async def count(lodging: Lodging) -> int:
            return len((await lodging.caught_up(self.sequence)).offsets)

        return self.residence.ask(count) or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        return LogSubscription(self, gt=gt, topics=topics)


class LogSubscription(Subscription[LogApplicationRecorder]):
    """Told as the log moves, whoever moves it; it lasts while the log is away."""

    def __init__(self, recorder: LogApplicationRecorder, gt: int | None = None, topics: Sequence[str] = ()) -> None:
        super().__init__(recorder, gt, topics)
        self._page: deque[Notification] = deque()
        self._reached = gt or 0

    def stop(self) -> None:
        super().stop()
        self._recorder.residence.wake()

    def __next__(self) -> Notification:
        while not self._page and not self._has_been_stopped:
            self._page.extend(map(_notification, self._recorder.residence.ask(self._following)))
        if self._has_been_stopped:
            raise StopIteration
        return self._page.popleft()

    async def _following(self, lodging: Lodging) -> Sequence[GuestEventStored]:
        index = await lodging.moved_past(self._recorder.sequence, self._reached, lambda: self._has_been_stopped)
        first, self._reached = self._reached + 1, min(len(index.offsets), self._reached + _PAGE)
        return await lodging.page(index, first, self._reached, _PAGE, self._topics)


class LogTrackingRecorder(LogRecorder, TrackingRecorder):
    def insert_tracking(self, tracking: Tracking) -> None:
        self.store([], tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        async def progress(lodging: Lodging) -> int | None:
            return (await lodging.caught_up(self.sequence)).progress.get(application_name)

        return self.residence.ask(progress)


class LogProcessRecorder(LogTrackingRecorder, LogApplicationRecorder, ProcessRecorder):
    """New events and the progress from which they follow are one commit: each upstream event is dealt with once."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        return self.store(stored_events, kwargs.get("tracking"))


def _new(event: StoredEvent) -> NewGuestEvent:
    return NewGuestEvent(
        originator=str(event.originator_id),
        named=isinstance(event.originator_id, str),
        version=event.originator_version,
        topic=event.topic,
        state=event.state,
    )


def _originator(event: GuestEventStored) -> UUID | str:
    return event.originator if event.named else UUID(event.originator)


def _notification(event: GuestEventStored) -> Notification:
    return Notification(
        originator_id=_originator(event), originator_version=event.version, topic=event.topic, state=event.state, id=event.ordinal
    )
