"""Commands and answers between the load and a worker, as JSON that a person can read afterwards."""

from datetime import UTC, datetime
from typing import Any

from commands.decider import CommandRefused, NotFound
from commands.dispatch import CommandIdReused, CommitInDoubt, Committed, ExpectedVersionMismatch, LogUnavailable, Order
from commands.flags import FlagCommand, RemoveFlag, SetFlag
from events.positions import Position
from events.streams import StreamId
from tests.simulator.history import Outcome, Wanted

_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def asked(wanted: Wanted) -> dict[str, Any]:
    """A command as it goes to a worker."""
    command = wanted.command
    return {
        "stream": str(wanted.stream),
        "set": command.variant if isinstance(command, SetFlag) else None,
        "expected": wanted.expected_version,
        "id": wanted.order.command_id.hex(),
        "digest": wanted.order.digest.hex(),
    }


def stream_of(said: dict[str, Any]) -> StreamId:
    return StreamId.parse(said["stream"])


def command_of(said: dict[str, Any]) -> FlagCommand:
    return RemoveFlag() if said["set"] is None else SetFlag(enabled=True, variant=said["set"])


def order_of(said: dict[str, Any]) -> Order:
    return Order(command_id=bytes.fromhex(said["id"]), digest=bytes.fromhex(said["digest"]), actor="chaos", occurred_at=_AT)


def outcome_of(answer: dict[str, Any] | None) -> Outcome:
    """What was heard, as the dispatch says it within one process; None: nothing was heard."""
    if answer is None:
        return None
    match answer["outcome"]:
        case "committed":
            position = Position.parse(answer["position"])
            return Committed(position=position, version=answer["version"], facts=(), repeated=answer["repeated"])
        case "conflict":
            return ExpectedVersionMismatch(answer["expected"], answer["found"])
        case "refused":
            return NotFound("no such flag is set") if answer["code"] == NotFound.code else CommandRefused(answer["code"])
        case "reused":
            return CommandIdReused("the id has another body")
        case "unavailable":
            return LogUnavailable(answer["reason"], answer["retry_ms"])
        case "doubt":
            return CommitInDoubt("no answer in time")
        case other:
            raise ValueError(f"{other!r} is no outcome")
