"""How a route changes something: one command, decided where its stream is owned, and the answer's headers."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Response

from api.auth import Caller
from api.idempotency import IdempotencyKey, Intent, intent
from api.ports import Ports
from api.preconditions import IfMatch, expected_versions, tag
from api.problems import IN_FLIGHT, At, Problem
from api.trace import trace_of
from api.wire import POSITION
from commands.decider import Decider
from commands.dispatch import Committed, Dispatch, ExpectedVersionMismatch, Order
from events.streams import StreamId
from projections.queries import RowsUnavailable

_AGAIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Sends the commands of one request; the last one's position and version go into the answer's headers."""

    dispatch: Dispatch
    who: Caller
    intent: Intent
    expected_versions: Sequence[int]
    now: datetime
    request: Request
    response: Response
    under_way: dict[bytes, int] = field(default_factory=dict)

    async def __call__(
        self, decider: Decider[Any, Any, Any], stream: StreamId, command: object, *, step: str = "", aside: bool = False
    ) -> Committed:
        """Returns when the facts are on the log. `step` tells several commands of one request apart; `If-Match` is for the first.

        What is done `aside`, to other things than the one that was asked for, leaves the answer's headers as they are.
        Raises what Dispatch raises; `problems` makes the answers of it.
        """
        trace = trace_of(self.request.scope)
        command_id = self.intent.command_id(step)
        order = Order(
            command_id=command_id, digest=self.intent.digest, actor=self.who.actor, occurred_at=self.now,
            correlation_id=trace.trace_id, trace_id=trace.trace_id, span_id=trace.span_id,
        )  # fmt: skip
        expected = () if step else self.expected_versions

        async def send() -> Committed:
            try:
                return await self.dispatch(decider, stream, command, order, expected_version=expected[0] if expected else None)
            except ExpectedVersionMismatch as mismatch:
                if mismatch.found not in expected:
                    raise
                # Another of those that the caller would have had.
                return await self.dispatch(decider, stream, command, order, expected_version=mismatch.found)

        committed = await self._alone_or_in_time(send())
        if not aside:
            self.response.headers[POSITION] = str(committed.position)
            tag(self.response, committed.version)
        return committed

    async def _alone_or_in_time(self, sending: Awaitable[Committed]) -> Committed:
        """Who asks again while the first request is under way waits for its answer, and not for ever. Raises Problem."""
        seed, again = self.intent.seed, self.intent.seed in self.under_way
        self.under_way[seed] = self.under_way.get(seed, 0) + 1
        try:
            if not again:
                return await sending
            async with asyncio.timeout(_AGAIN_SECONDS):
                return await sending
        except TimeoutError as cause:
            at = [At(header="Idempotency-Key", detail="is in use")]
            raise Problem(IN_FLIGHT, IN_FLIGHT.meaning, errors=at, headers={"Retry-After": "1"}) from cause
        finally:
            left = self.under_way.pop(seed) - 1
            if left:
                self.under_way[seed] = left

    async def first_at(self, stream: StreamId, committed: Committed) -> datetime:
        """When it happened: of a repeat, and of what changed nothing, as the journal has it; the present where that cannot be asked."""
        if committed.facts:
            return committed.facts[0].occurred_at
        ports: Ports = self.request.app.state.ports
        with suppress(RowsUnavailable):
            await ports.rows.wait_for([committed.position], _AGAIN_SECONDS)
            for fact in await ports.journal.stream_events(stream, after_version=committed.version - 1, limit=1):
                return fact.occurred_at
        return self.now

    def created_at(self, address: str) -> None:
        """Where the new thing is found (`Location`)."""
        self.response.headers["Location"] = address


async def writing(request: Request, response: Response, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None) -> Writing:
    """The writing of this request."""
    ports: Ports = request.app.state.ports
    who: Caller = request.scope["state"]["caller"]
    return Writing(
        dispatch=ports.dispatch,
        who=who,
        intent=await intent(request, who, ports, idempotency_key),
        expected_versions=expected_versions(request.method, if_match, request.headers.get("if-none-match")),
        now=ports.clock(),
        request=request,
        response=response,
        under_way=request.app.state.under_way,
    )


Write = Annotated[Writing, Depends(writing)]
