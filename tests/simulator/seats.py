"""An owner and what waits for it as bytes: equal ones are equal bytes, and each can go on from its own."""

import io
import pickle
from collections import deque
from functools import lru_cache
from typing import Any

from commands.decider import Decider
from commands.dispatch import ExpectedVersionMismatch
from commands.flags import FLAGS
from commands.ownership.groups import Submission
from commands.ownership.owner import Owner
from events.codec import Codec
from tests.commands.ownership.desk import CODEC


@lru_cache(maxsize=1)
def _codec() -> Codec:
    return CODEC


def _flags() -> Decider[Any, Any, Any]:
    return FLAGS


def dumped(owner: Owner, waiting: deque[Submission], *, alike: bool) -> bytes:
    """All that an owner is, as bytes; what it only counts for people is left out."""
    for counted in (owner.counts, owner.dropped, owner.superseded, owner.streams.loads):
        counted.clear()
    owner.superseded_at = None
    out = io.BytesIO()
    pickler = pickle.Pickler(out)
    pickler.dispatch_table = {
        Codec: lambda _: (_codec, ()),
        Decider: lambda _: (_flags, ()),
        ExpectedVersionMismatch: lambda error: (ExpectedVersionMismatch, (error.expected, error.found)),
    }
    group = owner.under_way
    if alike and group is not None:
        group._streams = None  # type: ignore[assignment]
    pickler.fast = alike
    pickler.dump((owner, waiting))
    if group is not None:
        group._streams = owner.streams
    return out.getvalue()


def loaded(data: bytes) -> tuple[Owner, deque[Submission]]:
    owner, waiting = pickle.loads(data)  # noqa: S301 - our own bytes
    return owner, waiting
