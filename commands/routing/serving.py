"""What this process answers when another one's owners ask it: it decides what it owns, and says where the rest went."""

import asyncio
from collections.abc import Mapping
from typing import Any, assert_never

from commands.decider import Decider
from commands.dispatch import LogUnavailable, UnknownCategory
from commands.ownership.appending import Superseded, Ticket
from commands.ownership.groups import Submission
from commands.ownership.partition import OwnedPartition
from commands.ports import Claim
from commands.routing.estate import Estate
from commands.routing.frames import (
    Alive,
    Answer,
    AskStanding,
    BrokenFrame,
    Carry,
    Done,
    Look,
    Moved,
    NotUnderstood,
    Prepare,
    Raised,
    Standing,
    Taken,
    TakeOver,
    decode_request,
    encode_answer,
    encode_committed,
)  # fmt: skip
from commands.routing.raised import encode_raised
from commands.wire import BrokenCommand, CommandWire, UnknownCommand
from events.codec import Codec
from events.streams import InvalidStreamName, StreamId

_NOBODY = Claim(0, bytes(16), "", 0)


class Serving:
    """Never forwards: whoever asks is told where to go, so that a command takes no rounds."""

    def __init__(self, estate: Estate, deciders: Mapping[str, Decider[Any, Any, Any]], codec: Codec, wire: CommandWire) -> None:
        self._estate = estate
        self._deciders = deciders
        self._codec = codec
        self._wire = wire

    async def __call__(self, data: bytes) -> bytes:
        """Raises nothing that the peer should hear otherwise."""
        try:
            request = decode_request(data)
        except BrokenFrame as error:
            return encode_answer(NotUnderstood(str(error)))
        if request.to != self._estate.address:
            return encode_answer(Alive(self._estate.address))
        if isinstance(request, Carry):
            answer = await self._carry(request)
        elif isinstance(request, TakeOver):
            answer = await self._take_over(request)
        elif isinstance(request, Prepare):
            answer = await self._prepare(request)
        elif isinstance(request, AskStanding):
            answer = self._standing(request)
        elif isinstance(request, Look):
            answer = Alive(self._estate.address)
        else:
            assert_never(request)
        return encode_answer(answer)

    async def _carry(self, request: Carry) -> Answer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.within_ms / 1000
        try:
            stream = StreamId.parse(request.key)
            decider = self._deciders.get(stream.category)
            if decider is None:
                return Raised(encode_raised(UnknownCategory(f"{stream} is no stream of a decider that this process knows")))
            command, order = self._wire.decode(stream.category, request.command), self._wire.decode_order(request.order)
        except (InvalidStreamName, UnknownCommand, BrokenCommand) as error:
            return Raised(encode_raised(BrokenCommand(str(error)) if isinstance(error, InvalidStreamName) else error))
        partition = self._estate.at(decider.room, request.key)
        if partition is None:
            return Raised(encode_raised(UnknownCategory(f"this process does not know the topic of {decider.room!r}")))
        ticket = Ticket(loop.create_future(), deadline)
        leaving = self._estate.leaving.get(partition.owner.place)
        if leaving is not None:
            await leaving.wait()
        try:
            if not partition.takes:
                known = self._elsewhere(partition)
                if known is not None and known.term >= request.term:
                    return Moved(known)
                partition.need(max(request.term, partition.owner.fence.term))
            partition.submit(Submission(decider, stream, command, order, request.expected_version, ticket))
        except LogUnavailable as error:
            return self._failed(partition, error)
        await asyncio.wait([ticket.answer])
        # Whatever it is, it is its bearer's, who waits in the other process.
        raised = ticket.answer.exception()
        return self._failed(partition, raised) if raised is not None else Done(encode_committed(ticket.answer.result(), self._codec))

    def _failed(self, partition: OwnedPartition, error: BaseException) -> Answer:
        return Moved(self._elsewhere(partition) or _NOBODY) if isinstance(error, Superseded) else Raised(encode_raised(error))

    def _elsewhere(self, partition: OwnedPartition) -> Claim | None:
        """The newest claim that is known, unless it is our own."""
        known = self._estate.claims.of(partition.owner.place)
        return None if known is None or known.address == self._estate.address else known

    async def _take_over(self, request: TakeOver) -> Answer:
        partition = self._estate.by_place.get(request.place)
        if partition is None:
            return NotUnderstood(f"{request.place} is no partition that this process knows")
        partition.assign(request.term)
        await partition.settled()
        known = self._estate.claims.of(request.place) or _NOBODY
        return Taken(known) if partition.owner.owns else Moved(known)

    async def _prepare(self, request: Prepare) -> Answer:
        partition = self._estate.by_place.get(request.place)
        if partition is not None:
            await partition.prepare()
        return Alive(self._estate.address)

    def _standing(self, request: AskStanding) -> Answer:
        partition = self._estate.by_place.get(request.place)
        if partition is None:
            return NotUnderstood(f"{request.place} is no partition that this process knows")
        if not partition.owner.owns:
            return Moved(self._elsewhere(partition) or _NOBODY)
        return Standing(partition.owner.next_offset, partition.owner.fence)
