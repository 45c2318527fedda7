"""The owner's loop: commands come in, a batch at a time goes out, and each command's bearer is answered once it is certain."""

import asyncio
from collections import deque
from dataclasses import dataclass

import structlog

from commands.dispatch import CommitInDoubt, LogUnavailable
from commands.ownership.appending import Appending, Tell, World, answer_all
from commands.ownership.groups import Answer, Submission
from commands.ownership.owner import Owner
from commands.ownership.streams import CannotOwn
from commands.ports import HistoryLost, LogAway

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited and how much is kept waiting, per partition."""

    answer_seconds: float = 5.0
    queue_commands: int = 10_000
    full_retry_ms: int = 50
    away_seconds: float = 0.25
    """Between two attempts to reach a log that does not answer."""
    superseded_seconds: float = 0.5
    """How long another owner is left in peace, at least; up to twice as long, by lot. After that a new command claims again."""


class OwnedPartition:
    """One partition in this process's care. `started` ends when it was claimed, or says why it cannot be."""

    def __init__(self, owner: Owner, world: World, patience: Patience, tell: Tell) -> None:
        self.owner = owner
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._world = world
        self._patience = patience
        self._appending = Appending(owner, world, tell, int(patience.away_seconds * 1000))
        self._waiting: deque[Submission] = deque()
        self._work = asyncio.Event()
        self._stopping = asyncio.Event()
        # Why nothing is taken at present, and when to come again.
        self._closed: tuple[str, int] | None = None
        self._away = False
        self._away_ms = int(patience.away_seconds * 1000)

    def submit(self, submission: Submission) -> None:
        """Take a command in; its ticket is answered. Raises LogUnavailable where it would only wait in vain."""
        if self._closed is not None:
            raise LogUnavailable(*self._closed)
        if len(self._waiting) >= self._patience.queue_commands:
            raise LogUnavailable("too many commands wait for this partition", self._patience.full_retry_ms)
        self._waiting.append(submission)
        self._work.set()

    def sweep(self, now: float) -> None:
        """Answer those who have waited long enough: what was not sent is certain not to be there, the rest is in doubt."""
        expired = []
        while self._waiting and self._waiting[0].ticket.deadline <= now:
            expired.append(Answer(self._waiting.popleft(), LogUnavailable("the log did not take the command in time")))
        group = self.owner.under_way
        if group is not None:
            late = [submission for submission in group.submissions if submission.ticket.deadline <= now]
            expired += [Answer(submission, CommitInDoubt("no answer from the log in time")) for submission in late]
        answer_all(expired)

    def stop(self) -> None:
        """Take no more, finish what waits, release the partition."""
        self._closed = ("this process is stopping", self._patience.full_retry_ms)
        self._stopping.set()
        self._work.set()

    async def run(self) -> None:
        """Own the partition until `stop`. Ends early, and says so, where going on could do harm."""
        try:
            while not self._stopping.is_set():
                await self._own()
            if self.owner.owns:
                await self._appending.release()
        except (CannotOwn, HistoryLost) as error:
            log.exception("partition-closed", topic=self.owner.place.topic, partition=self.owner.place.partition)
            self._closed = (str(error), 60_000)
            if not self.started.done():
                self.started.set_exception(error)
                # Several partitions may fail; one of them is raised.
                self.started.exception()
        finally:
            self._turn_away(*(self._closed or ("this process is stopping", self._patience.full_retry_ms)))
            if self.owner.under_way is not None:
                answer_all(Answer(submission, CommitInDoubt("this process stopped")) for submission in self.owner.under_way.submissions)

    async def _own(self) -> None:
        """Claim unless we own; then serve until stopped, superseded, or in doubt. What is in doubt is claimed again at once."""
        try:
            if self.owner.owns:
                await self._world.log.end_offset(self.owner.place)
            elif not await self._appending.claim(self._waiting):
                await self._yield_to_another()
                return
            self._open()
            while self.owner.owns and (self._waiting or not self._stopping.is_set()):
                if self._waiting:
                    await self._appending.commit(self._waiting)
                else:
                    self._work.clear()
                    await self._work.wait()
            if not self.owner.owns and self.owner.under_way is None:
                await self._yield_to_another()
        except LogAway as error:
            if not self._away:
                log.warning("log-away", topic=self.owner.place.topic, partition=self.owner.place.partition, reason=str(error))
            self._away = True
            self._turn_away(str(error), self._away_ms)
            await self._pause(self._patience.away_seconds)

    async def _yield_to_another(self) -> None:
        """Another owner has claimed the partition: leave it in peace for a while, then claim again when somebody needs it."""
        owner, seconds = self.owner, self._patience.superseded_seconds * (1 + self._world.draw(1)[0] / 255)
        log.warning("partition-lost", topic=owner.place.topic, partition=owner.place.partition, term=owner.fence.term)
        self._turn_away("another owner has claimed the partition", int(seconds * 1000))
        await self._pause(seconds)
        self._open()
        if not self._stopping.is_set():
            self._work.clear()
            await self._work.wait()

    def _open(self) -> None:
        self._away = False
        if not self._stopping.is_set():
            self._closed = None
        if not self.started.done():
            self.started.set_result(None)

    def _turn_away(self, reason: str, retry_after_ms: int) -> None:
        self._closed = (reason, retry_after_ms)
        answer_all(Answer(submission, LogUnavailable(reason, retry_after_ms)) for submission in self._waiting)
        self._waiting.clear()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
