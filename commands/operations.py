"""Decides about long work: asked for once, done by one process at a time, ended once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from commands.decider import CommandRefused, Decider, NotFound
from events.operations import (
    OperationBegun,
    OperationCancelled,
    OperationDone,
    OperationEvent,
    OperationFailed,
    OperationFile,
    OperationFileFetched,
    OperationFilesRemoved,
    OperationProgressed,
    OperationRequested,
)

_REMEMBERED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOperation:
    """Fields as of the fact."""

    kind: str
    wanted: str
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginOperation:
    """A process takes the work up, from where the last one left it."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteProgress:
    attempt: int
    done: int
    position: str
    files: tuple[OperationFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishOperation:
    attempt: int
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailOperation:
    """It can never be done; another attempt would fail alike."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOperation:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteFetching:
    """Somebody takes a file in which what is sealed lies open."""

    fetching: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteFilesRemoved:
    """What came of an operation that has ended was removed."""


OperationCommand: TypeAlias = (
    RequestOperation | BeginOperation | NoteProgress | FinishOperation | FailOperation | CancelOperation | NoteFetching | NoteFilesRemoved
)


class OperationExists(CommandRefused):
    """An operation is asked for once under its id."""

    code = "operation-exists"


class OperationOver(CommandRefused):
    """The operation is done, failed or cancelled: nothing more becomes of it."""

    code = "operation-over"


class OperationGoesOn(CommandRefused):
    """Its files may still be added to; wait until the operation has ended, or cancel it."""

    code = "operation-goes-on"


class OperationTakenOver(CommandRefused):
    """Another process has the work by now; what this one did since is not counted."""

    code = "operation-taken-over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What was asked for, which attempt has it, and whether it has ended; the last fetchings."""

    requested: OperationRequested
    attempt: int = 0
    ended: str = ""
    fetched: tuple[str, ...] = ()
    removed: bool = False


def decide(command: OperationCommand, operation: Operation | None) -> Sequence[OperationEvent]:
    if isinstance(command, RequestOperation):
        return _request(command, operation)
    if operation is None:
        raise NotFound("no such operation; check its id")
    match command:
        case BeginOperation(worker=worker):
            _must_go_on(operation)
            return (OperationBegun(attempt=operation.attempt + 1, worker=worker),)
        case NoteProgress(attempt=attempt, done=done, position=position, files=files):
            _must_be_ours(attempt, operation)
            return (OperationProgressed(attempt=attempt, done=done, position=position, files=files),)
        case FinishOperation(attempt=attempt, summary=summary):
            _must_be_ours(attempt, operation)
            return (OperationDone(attempt=attempt, summary=summary),)
        case FailOperation(reason=reason):
            _must_go_on(operation)
            return (OperationFailed(reason=reason),)
        case CancelOperation(reason=reason):
            if operation.ended == "cancelled":
                return ()
            _must_go_on(operation)
            return (OperationCancelled(reason=reason),)
        case NoteFetching(fetching=fetching, name=name, reason=reason):
            if fetching in operation.fetched:
                return ()
            return (OperationFileFetched(fetching=fetching, name=name, reason=reason),)
        case NoteFilesRemoved():
            if not operation.ended:
                raise OperationGoesOn("the operation goes on; wait until it has ended, or cancel it first")
            return () if operation.removed else (OperationFilesRemoved(),)
        case _:
            assert_never(command)


def _request(command: RequestOperation, operation: Operation | None) -> Sequence[OperationEvent]:
    wanted = OperationRequested(kind=command.kind, wanted=command.wanted, because=command.because)
    if operation is None:
        return (wanted,)
    if operation.requested != wanted:
        raise OperationExists("another operation was asked for under this id; ask for this one under an id of its own")
    return ()


def _must_go_on(operation: Operation) -> None:
    if operation.ended:
        raise OperationOver(f"the operation is {operation.ended}; ask for a new one")


def _must_be_ours(attempt: int, operation: Operation) -> None:
    _must_go_on(operation)
    if attempt != operation.attempt:
        raise OperationTakenOver(f"attempt {operation.attempt} has the work by now; stop")


def evolve(operation: Operation | None, fact: OperationEvent) -> Operation | None:
    if isinstance(fact, OperationRequested):
        return Operation(requested=fact)
    if operation is None:
        return None
    match fact:
        case OperationBegun(attempt=attempt):
            return replace(operation, attempt=attempt)
        case OperationProgressed():
            return operation
        case OperationDone():
            return replace(operation, ended="done")
        case OperationFailed():
            return replace(operation, ended="failed")
        case OperationCancelled():
            return replace(operation, ended="cancelled")
        case OperationFileFetched(fetching=fetching):
            return replace(operation, fetched=(*operation.fetched, fetching)[-_REMEMBERED:])
        case OperationFilesRemoved():
            return replace(operation, removed=True)
        case _:
            assert_never(fact)


OPERATIONS: Decider[OperationCommand, Operation | None, OperationEvent] = Decider(
    room="operations", category="operations", initial=None, decide=decide, evolve=evolve
)
