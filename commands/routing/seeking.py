"""A command whose partition is not ours finds its owner: the last known holder is asked, and where nobody answers we become it."""

import asyncio

from commands.decider import CommandRefused
from commands.dispatch import CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable
from commands.ownership.appending import Superseded, Ticket
from commands.ownership.groups import Submission
from commands.ownership.partition import OwnedPartition
from commands.ports import Claim
from commands.routing.claims import Claims
from commands.routing.forwarding import Forwarding, WentElsewhere
from commands.routing.lines import Dead, Lines

_HOPS = 8
_ON_THE_MOVE_MS = 50
_DELIVERED = "a process that did not answer has the command as well; send it again under the same id"


class Seeking:
    """A command may be sent more than once on its way: its id makes that harmless.

    A commit counts, whoever tells of it: who was superseded tells of none. A refusal speaks of one copy only: where another may still
    be decided, by a process that was frozen with it, the command is in doubt.
    """

    def __init__(self, claims: Claims, lines: Lines, forwarding: Forwarding) -> None:
        self._claims = claims
        self._lines = lines
        self._forwarding = forwarding

    async def __call__(self, partition: OwnedPartition, submission: Submission) -> Committed:
        """Raises what `commands.dispatch.Dispatch` does."""
        delivered = False
        try:
            for _ in range(_HOPS):
                _in_time(submission)
                claim = self._holder(partition)
                try:
                    if partition.takes:
                        return await _decided_here(partition, submission)
                    if claim is None:
                        known = self._claims.of(partition.owner.place)
                        partition.need(0 if known is None else known.term)
                    else:
                        committed = await self._forwarding.carry(claim, partition.owner.place, submission)
                        partition.at_peace()
                        return committed
                except Superseded:
                    continue
                except WentElsewhere as gone:
                    delivered = delivered or gone.delivered
                    if self._claims.of(partition.owner.place) == gone.claim:
                        # Its holder does not have it, and knows of nobody who does.
                        partition.need(gone.claim.term)
                except Dead as dead:
                    delivered = delivered or dead.delivered
        except (LogUnavailable, CommandRefused, ExpectedVersionMismatch) as error:
            if delivered:
                raise CommitInDoubt(_DELIVERED) from error
            raise
        raise CommitInDoubt(_DELIVERED) if delivered else LogUnavailable("the partition changes hands", _ON_THE_MOVE_MS)

    def _holder(self, partition: OwnedPartition) -> Claim | None:
        """The last known claim, where it is another process's that may live."""
        claim = self._claims.of(partition.owner.place)
        return None if claim is None or not self._lines.may_live(claim.address) else claim


async def _decided_here(partition: OwnedPartition, submission: Submission) -> Committed:
    answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
    submission.ticket = Ticket(answer, submission.ticket.deadline)
    partition.submit(submission)
    return await answer


def _in_time(submission: Submission) -> None:
    if asyncio.get_running_loop().time() >= submission.ticket.deadline:
        raise LogUnavailable("nobody took the command in time")
