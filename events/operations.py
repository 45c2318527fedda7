"""Facts about long work that somebody asked for: what was wanted, how far it is, and how it ended."""

from dataclasses import dataclass

from events.registry import event


@event("operation-requested", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRequested:
    """Somebody wants work done that takes longer than an answer may. `wanted` is JSON, as its `kind` reads it.

    `because`: why what is sealed is to be opened by it; empty: it is not.
    """

    kind: str
    wanted: str
    because: str = ""


@event("operation-begun", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationBegun:
    """A process has the work from here; whoever had it before does nothing more of it. `attempt` counts from 1."""

    attempt: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFile:
    """Something whole that came of it: where it is kept, its size, its SHA-256, and how many facts it holds."""

    name: str
    kept_as: str
    bytes: int
    digest: str
    facts: int


@event("operation-progressed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationProgressed:
    """So much is done and stays done; said now and then.

    `position`: where the next attempt would go on. `files`: those since the last time.
    """

    attempt: int
    done: int
    position: str
    files: tuple[OperationFile, ...] = ()


@event("operation-done", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDone:
    """It is whole. `summary` says what came of it, where that is more than files."""

    attempt: int
    summary: str = ""


@event("operation-failed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFailed:
    """It can never be done as it was wanted."""

    reason: str


@event("operation-cancelled", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCancelled:
    """Nobody wants it any more; what came of it so far stays."""

    reason: str


@event("operation-file-fetched", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFileFetched:
    """Somebody took a file in which what is sealed lies open. `fetching` names this time and no other."""

    fetching: str
    name: str
    reason: str


@event("operation-files-removed", version=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFilesRemoved:
    """Their time was over: the files that came of it are there no more."""


OperationEvent = (
    OperationRequested | OperationBegun | OperationProgressed | OperationDone | OperationFailed | OperationCancelled
    | OperationFileFetched | OperationFilesRemoved
)  # fmt: skip
