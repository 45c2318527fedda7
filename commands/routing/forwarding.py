"""A command's way to the process that holds its partition, and back: one request, and whatever answer the owner gave."""

import asyncio
from contextlib import suppress

from commands.decider import CommandRefused
from commands.dispatch import CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable, UnknownCategory
from commands.ownership.groups import Submission
from commands.ports import Claim, Place
from commands.routing.claims import Claims
from commands.routing.frames import (
    Alive,
    Answer,
    AskStanding,
    BrokenFrame,
    Carry,
    Done,
    Moved,
    NotUnderstood,
    Prepare,
    Raised,
    Request,
    Standing,
    Taken,
    TakeOver,
    decode_answer,
    decode_committed,
    encode_request,
)
from commands.routing.lines import Dead, Lines, Overdue
from commands.routing.ports import PeerBusy
from commands.routing.raised import decode_raised
from commands.wire import BrokenCommand, CommandWire, UnknownCommand
from events.codec import BrokenBody, Codec, UnknownSchema
from events.registry import UnknownEvent

_ROLLED_OUT_MS = 2_000


class WentElsewhere(Exception):
    """The process that was asked by this claim does not hold the partition; what it knows was learned.

    `delivered`: it may have got the command a second time, and deal with that one later.
    """

    def __init__(self, claim: Claim, *, delivered: bool) -> None:
        super().__init__("the partition is not where it was last known to be")
        self.claim = claim
        self.delivered = delivered


class Forwarding:
    """Asks other processes in the name of this one."""

    def __init__(self, lines: Lines, claims: Claims, codec: Codec, wire: CommandWire) -> None:
        self._lines = lines
        self._claims = claims
        self._codec = codec
        self._wire = wire

    async def carry(self, claim: Claim, place: Place, submission: Submission) -> Committed:
        """Have the holder of a claim decide a command. Raises what its owner raised, WentElsewhere, or Dead.

        Raises LogUnavailable where the command was certainly not taken, CommitInDoubt where the holder lives and did not answer in time.
        """
        now, deadline = asyncio.get_running_loop().time(), submission.ticket.deadline
        command, order = self._wire.encode(submission.stream.category, submission.command), self._wire.encode_order(submission.order)
        within_ms = max(1, int((deadline - now) * 1000))
        request = Carry(claim.address, within_ms, claim.term, submission.expected_version, submission.key, order, command)
        # The owner answers at its own deadline; its word of doubt shall arrive before we give up.
        answer, again = await self._ask(claim, request, deadline + self._lines.silence_seconds)
        if isinstance(answer, Done):
            return self._committed(answer.committed, submission)
        if isinstance(answer, Raised):
            error = decode_raised(answer.error)
            if isinstance(error, UnknownCategory | UnknownCommand | BrokenCommand):
                # We know the command, so it is the other program that is older, or newer: while a new version is rolled out.
                error = LogUnavailable(f"the process that owns the stream does not know the command: {error}", _ROLLED_OUT_MS)
            if again and isinstance(error, CommandRefused | ExpectedVersionMismatch | LogUnavailable):
                raise CommitInDoubt("the command was sent twice, and only one of the two was answered; send it again under the same id")
            raise error
        if isinstance(answer, Moved):
            self._claims.correct(place, claim, answer.claim)
            self._claims.learn(place, answer.claim)
            raise WentElsewhere(claim, delivered=again)
        if isinstance(answer, NotUnderstood):
            raise LogUnavailable(f"the process that owns the stream runs another version of the program: {answer.text}", _ROLLED_OUT_MS)
        raise BrokenFrame(f"{type(answer).__name__} is no answer to a command")

    async def prepare(self, place: Place, successor: str, seconds: float) -> None:
        """Have a successor read what it will be handed; returns when it has, or when it is of no use to wait."""
        deadline = asyncio.get_running_loop().time() + seconds
        with suppress(Dead, Overdue, PeerBusy):
            await self._lines.ask(successor, encode_request(Prepare(successor, place)), deadline)

    async def hand_over(self, place: Place, released: Claim, seconds: float) -> None:
        """Tell the successor that it may claim; returns when it has, or when it is of no use to wait."""
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            answer, _ = await self._ask(released, TakeOver(released.address, place, released.term), deadline)
        except (Dead, LogUnavailable, CommitInDoubt, BrokenFrame):
            return
        if isinstance(answer, Taken | Moved):
            self._claims.learn(place, answer.claim)

    async def standing(self, claim: Claim, place: Place) -> Standing | None:
        """How far the holder of a claim knows its partition; None when it does not say."""
        deadline = asyncio.get_running_loop().time() + self._lines.silence_seconds
        try:
            answer, _ = await self._ask(claim, AskStanding(claim.address, place), deadline)
        except (Dead, LogUnavailable, CommitInDoubt, BrokenFrame):
            return None
        return answer if isinstance(answer, Standing) else None

    async def _ask(self, claim: Claim, request: Request, deadline: float) -> tuple[Answer, bool]:
        """The answer, and whether another copy of the request may still be dealt with."""
        try:
            data, again = await self._lines.ask(claim.address, encode_request(request), deadline)
            answer = decode_answer(data)
        except PeerBusy as error:
            raise LogUnavailable(str(error), error.retry_after_ms) from error
        except Overdue:
            raise CommitInDoubt("the process that owns the stream did not answer in time") from None
        if isinstance(answer, Alive):
            self._lines.declare_dead(claim.address)
            raise Dead(delivered=again)
        return answer, again

    def _committed(self, data: bytes, submission: Submission) -> Committed:
        try:
            return decode_committed(data, submission.key, self._codec)
        except (BrokenBody, UnknownEvent, UnknownSchema) as error:
            raise CommitInDoubt(f"the command was taken by a newer program, whose facts this one cannot read: {error}") from error
