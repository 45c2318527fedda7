"""Commands whose stream is not in memory wait here, each stream's in their order, while it is loaded; no other stream waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import islice

import structlog

from commands.dispatch import Committed, LogUnavailable
from commands.ownership.groups import Submission
from commands.ownership.loading import Loader, LoadingPatience
from commands.ownership.naming import learn
from commands.ownership.owner import Owner
from commands.ownership.retiring import retire, wants_journal
from commands.ownership.snapping import Snapping
from commands.ports import Claim, Histories, HistoryAway, HistoryLost, LogAway, Reached
from events.admission import Fence
from events.headers import Kind

log = structlog.get_logger()

_LOADS = 2
"""So many loads are under way at a time, each of many streams."""
_KEYS = 200
_SLOW = "the stream's history did not come in time"


class Cold:
    """What the owner sets aside until its stream was loaded, or its command looked up; then it goes before all that waits.

    `wake` tells the owner's loop that there is something to decide again. `followed`: watchers count on the owner to read on from where
    it is, and to tell all that it reads. All of it belongs to one event loop.
    """

    def __init__(
        self,
        owner: Owner,
        loader: Loader,
        histories: Histories | None,
        waiting: deque[Submission],
        wake: Callable[[], None],
        patience: LoadingPatience,
        snapping: Snapping | None = None,
    ) -> None:
        owner.hold = self.hold
        self.followed = False
        self._owner = owner
        self._loader = loader
        self._histories = histories
        self._waiting = waiting
        self._wake = wake
        self._patience = patience
        self._snapping = snapping
        self._held: dict[bytes, deque[Submission]] = {}
        owner.streams.awaited = self._held
        self._wanted: dict[bytes, None] = {}
        self._work = asyncio.Event()
        self._count = 0

    def __len__(self) -> int:
        """How many commands are set aside."""
        return self._count

    def hold(self, submission: Submission) -> None:
        """Set a command aside, behind those of its stream that are here already."""
        key = submission.key
        stream = self._owner.streams.get(key)
        if stream is not None:
            # It is loaded, so the command is to be looked up; those behind it must not pass it.
            stream.waits = True
        if key not in self._held:
            self._held[key] = deque()
            self._wanted[key] = None
            self._work.set()
        self._held[key].append(submission)
        self._count += 1

    def sweep(self, now: float) -> None:
        """Answer those who have waited long enough: nothing of theirs was sent. What they wait for comes all the same."""
        for held in self._held.values():
            while held and held[0].ticket.deadline <= now:
                self._refuse(held.popleft(), LogUnavailable(_SLOW))

    def turn_away(self, reason: Callable[[], LogUnavailable]) -> None:
        """Answer all of them."""
        for held in self._held.values():
            while held:
                self._refuse(held.popleft(), reason())

    async def begin(self, known: Claim | None = None) -> None:
        """Before a claim: leave to the journal what it has; where that is little, or it is away, begin at the last claim that is known.

        Everything is read where little was written, or where something of ours is in doubt.
        """
        owner, patience = self._owner, self._patience
        if self.followed or owner.owns or owner.under_way is not None:
            return
        start = await self._journal()
        behind = owner.next_offset if start is None else max(start.offset, owner.next_offset)
        if known is not None and known.offset - behind > patience.far_records:
            start = await self._at(known) or start
        if start is not None and start.offset - owner.next_offset > patience.whole_records:
            owner.begin(*start)

    async def _journal(self) -> Reached | None:
        if self._histories is None:
            return None
        try:
            async with asyncio.timeout(self._patience.start_seconds):
                reached = await self._histories.reached(self._owner.place)
        except (HistoryAway, TimeoutError) as error:
            place = self._owner.place
            log.debug("journal-away", topic=place.topic, partition=place.partition, reason=str(error) or "it is too slow")
            return None
        self._owner.streams.journal_reached(reached.offset)
        return reached

    async def _at(self, known: Claim) -> Reached | None:
        """Behind a claim, its own fence holds. What was told is a hint, so the claim is looked at where it lies."""
        try:
            async with asyncio.timeout(self._patience.start_seconds):
                raw = await self._loader.record(known.offset)
        except (LogAway, HistoryLost, TimeoutError):
            return None
        header = None if raw is None else raw.header
        if raw is None or header is None or (header.kind, header.term, header.claim_id) != (Kind.CLAIM, known.term, known.claim_id):
            return None
        return Reached(known.offset + 1, Fence(known.term, known.claim_id), raw.timestamp_ms)

    async def run(self) -> None:
        """Load what is waited for, until cancelled."""
        slots = asyncio.Semaphore(_LOADS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_house(), name=f"keep memory and snapshots of {self._owner.place}")
            if self._histories is not None:
                tasks.create_task(self._learn_names(self._histories), name=f"learn the streams of {self._owner.place}")
            while True:
                self._work.clear()
                await self._work.wait()
                while self._wanted:
                    await slots.acquire()
                    keys = list(islice(self._wanted, _KEYS))
                    for key in keys:
                        del self._wanted[key]
                    loading = tasks.create_task(self._bring(keys), name=f"load streams of {self._owner.place}")
                    loading.add_done_callback(lambda _: slots.release())

    async def _bring(self, keys: list[bytes]) -> None:
        streams = self._owner.streams
        cold = [key for key in keys if streams.get(key) is None]
        if cold:
            if self._owner.under_way is None:
                streams.trim()
            self._release(cold, await self._loader.load(cold))
        for key in keys:
            if key not in cold:
                self._release([key], await self._recall(key))

    async def _recall(self, key: bytes) -> Mapping[bytes, LogUnavailable]:
        streams, refused = self._owner.streams, {}
        for submission in tuple(self._held[key]):
            if streams.in_question(key, submission.order.command_id):
                refusal = await self._loader.recall(key, submission.order.command_id)
                if refusal is not None:
                    refused[key] = refusal
                    break
        stream = streams.get(key)
        if stream is not None:
            stream.waits = False
        return refused

    def _release(self, keys: list[bytes], refused: Mapping[bytes, LogUnavailable]) -> None:
        for key in keys:
            held = self._held.pop(key, ())
            if key in refused:
                for submission in held:
                    self._refuse(submission, LogUnavailable(str(refused[key]), refused[key].retry_after_ms))
            else:
                self._count -= len(held)
                self._waiting.extendleft(reversed(held))
        self._wake()

    def _refuse(self, submission: Submission, reason: LogUnavailable) -> None:
        self._count -= 1
        answer: asyncio.Future[Committed] = submission.ticket.answer
        if not answer.done():
            answer.set_exception(reason)

    async def _learn_names(self, histories: Histories) -> None:
        """Which streams there were before we began to read, so that the first command of a new one needs no journal."""
        while True:
            await asyncio.sleep(self._patience.refresh_seconds)
            if self._owner.owns:
                with suppress(HistoryAway):
                    await learn(self._owner.streams.names, histories, self._owner.place)

    async def _keep_house(self) -> None:
        """Off the commits' way: write snapshots, and ask how far the journal is while room has to be made."""
        streams = self._owner.streams
        while True:
            await asyncio.sleep(self._patience.refresh_seconds)
            if self._snapping is not None and streams.due and self._owner.owns:
                await self._snapping.write_due()
            if self._histories is not None and (streams.room.crowded or streams.tail_records or wants_journal(streams)):
                with suppress(HistoryAway):
                    streams.journal_reached((await self._histories.reached(self._owner.place)).offset)
            if self._owner.under_way is None:
                retire(streams)
            # Other partitions of the process may be in need of what this one does not use.
            # Twice round: who was used since the last time is passed over once.
            for _ in range(2 + len(streams) // 32):
                if self._owner.under_way is not None or not streams.give_way():
                    break
                await asyncio.sleep(0)
