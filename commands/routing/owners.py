"""Dispatch and Watch for one process: what it owns it decides itself, everything else goes to whoever owns it."""

from collections.abc import Callable, Mapping
from typing import Any

from commands.decider import Decider
from commands.dispatching import LocalOwners
from commands.ownership.appending import World
from commands.ownership.groups import DEFAULT_LIMITS, Limits
from commands.ownership.partition import Patience
from commands.routing.claims import Claims
from commands.routing.ports import Assignments, Peers, Tails
from events.codec import Codec


class Owners(LocalOwners):
    """`commands.dispatch.Dispatch` (call it) and `Watch` (`watch`). An async context manager.

    `topics` are the rooms' topics with their partition counts, by room. Without `assignments` everything is ours: entering claims
    it all before it returns. Without `peers` nobody else can be asked. All its methods belong to one event loop.
    """

    def __init__(  # noqa: PLR0913 - one process's whole wiring
        self,
        topics: Mapping[str, tuple[str, int]],
        deciders: Mapping[str, Decider[Any, Any, Any]],
        codec: Codec,
        world: World,
        *,
        address: str,
        peers: Peers | None = None,
        claims: Claims | None = None,
        assignments: Assignments | None = None,
        tails: Tails | None = None,
        patience: Patience | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(topics, deciders, codec, world, address=address, patience=patience, limits=limits)

    async def serve(self, request: bytes) -> bytes:
        """Answer a request of another process's owners, as it came over the wire. Raises nothing that the peer should hear otherwise."""
        raise NotImplementedError

    def mint(self, room: str, tenant: str, category: str, new_id: Callable[[], str]) -> str:
        """An id whose stream falls on a partition that we own: `new_id` is called until it does; any id where we own none."""
        raise NotImplementedError
