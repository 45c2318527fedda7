"""Says of keys and programs in which hour they were last used: one fact an hour and credential, written aside from the requests."""

import asyncio
from datetime import datetime
from typing import NamedTuple

import structlog

from commands.credentials import CREDENTIAL_USES, NoteUse
from commands.dispatch import CommitInDoubt, Dispatch, LogUnavailable, Order
from events.identifiers import derived_id
from events.streams import StreamId

log = structlog.get_logger()
_KINDS = frozenset({"api-key", "oauth-client"})
_WAITING = 1_000
_REMEMBERED = 100_000


class Use(NamedTuple):
    """Something was used in the hour that began at `hour`."""

    organisation_id: str
    kind: str
    credential: str
    hour: datetime


class LastUse:
    """`note` is called at every request and is quick; `run` writes. A process that is killed forgets an hour's use at most.

    Processes that see the same key in the same hour send the same command, and the second changes nothing.
    """

    def __init__(self) -> None:
        self._noted: dict[str, datetime] = {}
        self._waiting: asyncio.Queue[Use] = asyncio.Queue(_WAITING)

    def note(self, organisation_id: str | None, actor: str, now: datetime) -> None:
        """`actor` as on the facts that it causes (`api-key:key_…`); people and the operator are none of our business."""
        hour = now.replace(minute=0, second=0, microsecond=0)
        if self._noted.get(actor) == hour:
            return
        kind, _, credential = actor.partition(":")
        if kind not in _KINDS or organisation_id is None or self._waiting.full():
            return
        if len(self._noted) >= _REMEMBERED:
            self._noted.clear()
        self._noted[actor] = hour
        self._waiting.put_nowait(Use(organisation_id, kind, credential, hour))

    async def run(self, dispatch: Dispatch) -> None:
        """Until cancelled."""
        while True:
            use = await self._waiting.get()
            command_id = derived_id("credential-used", use.credential, use.hour.isoformat())
            order = Order(command_id=command_id, digest=command_id, actor=f"{use.kind}:{use.credential}", occurred_at=use.hour)
            stream = StreamId(use.organisation_id, CREDENTIAL_USES.category, use.credential)
            try:
                await dispatch(CREDENTIAL_USES, stream, NoteUse(kind=use.kind, hour=use.hour), order)
            except (LogUnavailable, CommitInDoubt) as fault:
                # Its next request tells it again.
                self._noted.pop(f"{use.kind}:{use.credential}", None)
                log.info("last_use.untold", why=type(fault).__name__)
