"""The owner's loop: commands come in, a batch at a time goes out, and each command's bearer is answered once it is certain."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from commands.dispatch import CommitInDoubt, LogUnavailable
from commands.ownership.appending import Appending, Claimed, Superseded, Tell, Witness, World, answer_all
from commands.ownership.cold import Cold
from commands.ownership.groups import Answer, Submission
from commands.ownership.loading import DEFAULT_LOADING, Bases, Loader, LoadingPatience
from commands.ownership.owner import Owner
from commands.ownership.snapping import Snapping
from commands.ownership.streams import CannotOwn
from commands.ports import Claim, HistoryLost, LogAway, Place

log = structlog.get_logger()

_HOLDER_BACK_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited and how much is kept waiting, per partition."""

    answer_seconds: float = 5.0
    queue_commands: int = 10_000
    full_retry_ms: int = 50
    away_seconds: float = 0.25
    """Between two attempts to reach a log that does not answer."""
    superseded_seconds: float = 0.5
    """How long another owner is left in peace, at least; up to twice as long, by lot. After that a new command claims again.

    It doubles each time that we are superseded again, so that two processes which cannot see each other do not fight for ever.
    """
    superseded_most_seconds: float = 30.0
    silence_seconds: float = 0.3
    """How long another process may be silent before it is asked whether it lives, and then again before it counts as dead."""
    hand_over_seconds: float = 1.0
    loading: LoadingPatience = DEFAULT_LOADING


class OwnedPartition:
    """One partition that this process owns when somebody wants it to. `started` ends when it was first claimed, or says why it cannot be.

    `address` is where this process takes commands; `released` the claim that was given up at the end, with its successor's address.
    """

    def __init__(
        self,
        owner: Owner,
        world: World,
        patience: Patience,
        tell: Tell,
        *,
        address: str = "",
        witness: Witness | None = None,
        known: Callable[[Place], Claim | None] | None = None,
    ) -> None:
        self.owner = owner
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.released: Claim | None = None
        self._world = world
        self._patience = patience
        self._witness = witness
        self._known = known
        self._appending = Appending(owner, world, tell, int(patience.away_seconds * 1000), address=address, witness=witness)
        self._waiting: deque[Submission] = deque()
        self._work = asyncio.Event()
        snapping = None if world.snapshots is None else Snapping(owner, world.log, world.snapshots)
        loader = Loader(owner, world.log, world.schemas, world.histories, snapping or Bases(), patience.loading)
        self._cold = Cold(owner, loader, world.histories, self._waiting, self._work.set, patience.loading, snapping)
        self._stopping = asyncio.Event()
        # Why nothing is taken at present, and when to come again.
        self._closed: tuple[str, int] | None = None
        self._away = False
        self._away_ms = int(patience.away_seconds * 1000)
        self._wanted = self._suspected = self._preparing = self._ended = False
        self._settled: list[asyncio.Future[None]] = []
        self._needed_beyond: int | None = None
        self._losses = 0
        self._rests_until = self._owned_since = 0.0
        self._successor = ""

    @property
    def takes(self) -> bool:
        """Whether commands may be handed in: the partition is ours, or it is being claimed."""
        return self._wanted or self.owner.owns or self.owner.under_way is not None

    def assign(self, beyond: int | None = None) -> None:
        """Claim the partition: it is to be ours, whoever holds it, or unless somebody claimed it after the term `beyond`."""
        if self._stopping.is_set():
            return
        if self._wanted or not self.takes:
            self._wanted, self._needed_beyond = True, beyond
        else:
            # It may have been claimed by another while nobody asked for it: nothing told us.
            self._suspected = self._suspected or beyond is None
        self._work.set()

    async def prepare(self) -> None:
        """Read to the present end, so that a claim that follows is quick. Returns when that has been tried."""
        if not self.takes and not self._ended:
            self._preparing = True
            self._work.set()
        await self.settled()

    async def settled(self) -> None:
        """Returns when the claim or the reading that is under way has ended, in whatever way; at once when none is."""
        if self._wanted or self._preparing:
            ended = asyncio.get_running_loop().create_future()
            self._settled.append(ended)
            await ended

    def need(self, beyond: int) -> None:
        """Claim the partition, for the holder of the claim with this term does not answer (0: none is known).

        Who claimed it after that is left in peace. Raises LogUnavailable while it must not be tried.
        """
        if self._closed is not None:
            raise LogUnavailable(*self._closed)
        if self.takes:
            return
        rests_ms = int((self._rests_until - asyncio.get_running_loop().time()) * 1000)
        if rests_ms > 0:
            reason = "another owner has claimed the partition, and is left in peace for a while"
            # Its holder may be reached much sooner than we would claim.
            raise LogUnavailable(reason, min(rests_ms, _HOLDER_BACK_MS))
        self._wanted, self._needed_beyond = True, beyond
        self._work.set()

    def at_peace(self) -> None:
        """Its holder can be reached: should it die, there is no reason to wait."""
        self._losses, self._rests_until = 0, 0.0

    def submit(self, submission: Submission) -> None:
        """Take a command in; its ticket is answered. Raises LogUnavailable where it would only wait in vain."""
        if self._closed is not None:
            raise LogUnavailable(*self._closed)
        if not self.takes:
            raise Superseded
        if len(self._waiting) + len(self._cold) >= self._patience.queue_commands:
            raise LogUnavailable("too many commands wait for this partition", self._patience.full_retry_ms)
        self._waiting.append(submission)
        self._work.set()

    def sweep(self, now: float) -> None:
        """Answer those who have waited long enough: what was not sent is certain not to be there, the rest is in doubt."""
        expired = []
        while self._waiting and self._waiting[0].ticket.deadline <= now:
            expired.append(Answer(self._waiting.popleft(), LogUnavailable("the log did not take the command in time")))
        self._cold.sweep(now)
        group = self.owner.under_way
        if group is not None:
            late = [submission for submission in group.submissions if submission.ticket.deadline <= now]
            expired += [Answer(submission, CommitInDoubt("no answer from the log in time")) for submission in late]
        answer_all(expired)

    def stop(self, successor: str = "") -> None:
        """Take no more, finish what waits, release the partition to another process (empty: to anyone)."""
        self._successor = successor
        self._closed = ("this process is stopping", self._patience.full_retry_ms)
        self._stopping.set()
        self._work.set()

    async def run(self) -> None:
        """Own the partition until `stop`. Ends early, and says so, where going on could do harm."""
        async with asyncio.TaskGroup() as tasks:
            loading = tasks.create_task(self._cold.run(), name=f"load streams of {self.owner.place} as they are needed")
            try:
                await self._run()
            finally:
                loading.cancel()

    async def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self.takes:
                    await self._own()
                elif self._preparing:
                    await self._read_up()
                else:
                    self._work.clear()
                    await self._work.wait()
            if self.owner.owns:
                self.released = await self._appending.release(self._successor)
        except (CannotOwn, HistoryLost) as error:
            log.exception("partition-closed", topic=self.owner.place.topic, partition=self.owner.place.partition)
            self._closed = (str(error), 60_000)
            if not self.started.done():
                self.started.set_exception(error)
                # Several partitions may fail; one of them is raised.
                self.started.exception()
        finally:
            self._ended = True
            self._no_longer_wanted()
            self._turn_away(*(self._closed or ("this process is stopping", self._patience.full_retry_ms)))
            if self.owner.under_way is not None:
                answer_all(Answer(submission, CommitInDoubt("this process stopped")) for submission in self.owner.under_way.submissions)

    async def _own(self) -> None:
        """Claim unless we own; then serve until stopped, superseded, or in doubt. What is in doubt is claimed again at once."""
        try:
            known = None if self._known is None else self._known(self.owner.place)
            await self._cold.begin(known)
            if known is not None and self._appending.holder is None and self.owner.fence == known[:2]:
                # It began behind that claim, and so has not read whose it is.
                self._appending.holder = known
            if self.owner.owns:
                await self._world.log.end_offset(self.owner.place)
            elif not await self._claim():
                return
            self._no_longer_wanted()
            self._open()
            while self.owner.owns and (self._waiting or not self._stopping.is_set()):
                if self._suspected:
                    if await self._still_ours():
                        # We may have been stopped meanwhile.
                        continue
                    # Assigned to us: what waits stays, and is dealt with once we have claimed it.
                    self._wanted = True
                    return
                if self._waiting:
                    await self._appending.commit(self._waiting)
                else:
                    self._work.clear()
                    await self._work.wait()
            if self.owner.under_way is not None:
                # Whoever claimed it after the batch that is in doubt has settled it as well as we could.
                self._needed_beyond = self.owner.under_way.fence.term
            elif not self.owner.owns:
                self._lose(rest=True)
        except LogAway as error:
            if not self._away:
                log.warning("log-away", topic=self.owner.place.topic, partition=self.owner.place.partition, reason=str(error))
            self._away = True
            self._turn_away(str(error), self._away_ms)
            await self._pause(self._patience.away_seconds)
            if self._needed_beyond is not None and self.owner.under_way is None:
                # Whoever needs it asks again; by then another process may have it.
                self._no_longer_wanted()
                self._open()

    async def _still_ours(self) -> bool:
        """As the log has it, to its present end."""
        self._suspected = False
        await self._appending.read(await self._world.log.end_offset(self.owner.place))
        return self.owner.owns

    async def _read_up(self) -> None:
        try:
            await self._cold.begin()
            await self._appending.read(await self._world.log.end_offset(self.owner.place))
        except LogAway as error:
            log.warning("log-away", topic=self.owner.place.topic, partition=self.owner.place.partition, reason=str(error))
        self._preparing = False
        if not self._wanted:
            self._no_longer_wanted()

    async def _claim(self) -> bool:
        """Whether the partition is ours from here on."""
        beyond = self._needed_beyond
        claimed = await self._appending.claim(self._waiting, beyond)
        if claimed is Claimed.OURS:
            self._owned_since = asyncio.get_running_loop().time()
            self._cold.followed = True
            return True
        # It may have been assigned to us while we tried it by need: then it is claimed again.
        if not (self._wanted and beyond is not None and self._needed_beyond is None):
            self._lose(rest=claimed is Claimed.LOST)
        return False

    def _lose(self, *, rest: bool) -> None:
        """Another process has it. What waits is sent there by whoever brought it; after a fight we rest before we need it again."""
        owner, patience, now = self.owner, self._patience, asyncio.get_running_loop().time()
        self._no_longer_wanted()
        if rest:
            most = patience.superseded_most_seconds
            if self._owned_since and now - self._owned_since > 2 * most:
                self._losses = 0
            seconds = min(patience.superseded_seconds * 2 ** min(self._losses, 30), most) * (1 + self._world.draw(1)[0] / 255)
            self._losses += 1
            self._rests_until = now + seconds
            log.warning("partition-lost", topic=owner.place.topic, partition=owner.place.partition, term=owner.fence.term)
        self._open()
        answer_all(Answer(submission, Superseded()) for submission in self._waiting)
        self._waiting.clear()
        self._cold.turn_away(Superseded)
        self._cold.followed = False
        if self._witness is not None:
            self._witness.lost(owner.place)

    def _no_longer_wanted(self) -> None:
        self._wanted, self._needed_beyond, self._preparing = False, None, False
        for ended in self._settled:
            if not ended.done():
                ended.set_result(None)
        self._settled.clear()

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
        self._cold.turn_away(lambda: LogUnavailable(reason, retry_after_ms))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
