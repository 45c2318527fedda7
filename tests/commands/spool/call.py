"""A call, and what a worker has to say of it, for the spool's tests."""

from datetime import UTC, datetime

from commands.calls.deciding import CALLS
from commands.calls.orders import AnswerCall, ReceiveCall, Witness
from commands.dispatch import Dispatch, Order
from events.calls.ending import EngineFailure
from events.identifiers import derived_id
from events.sealing import digest_of
from events.streams import StreamId
from tests.given import sealed

ANSWER = AnswerCall(stream_sid="MZ1", worker="w", recogniser="r", model_provider="m", voice="v", embedded=True)


def call(n: int = 1) -> StreamId:
    return StreamId("AYB-1", "calls", f"call_{n}")


def failure(n: int) -> Witness:
    return Witness(fact=EngineFailure(turn=n, engine="x", reason="y", at_ms=n))


def order(stream: StreamId, sequence: int, command: object, incarnation: str = "MZ1") -> Order:
    return Order(
        command_id=derived_id("call", stream.id, incarnation, str(sequence)), digest=digest_of(repr(command).encode()), actor="worker/w",
        occurred_at=datetime(2026, 11, 21, tzinfo=UTC),
    )  # fmt: skip


async def received(log: Dispatch, *streams: StreamId, answered: bool = True) -> None:
    """Calls that rang, and were answered over media stream MZ1."""
    for stream in streams:
        receive = ReceiveCall(
            call_sid=f"CA{stream.id}", caller=sealed("+1"), caller_ref="ref", number=sealed("+2"), number_ref="n", agent_id="a",
            agent_version="1", agent_version_hash="h",
        )  # fmt: skip
        await log(CALLS, stream, receive, order(stream, 0, receive))
        if answered:
            await log(CALLS, stream, ANSWER, order(stream, -1, ANSWER))
