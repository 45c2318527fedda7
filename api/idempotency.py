"""A request that is sent again is the same command: its ids follow from the organisation and the `Idempotency-Key`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Request

from api.auth import Caller
from api.ports import Ports
from api.versions import SENT
from events.identifiers import derived_id, uuid7
from events.sealing import digest_of
from events.streams import PLATFORM


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What one request wants, once. `seed` has 16 bytes; `digest` is over method, path, query and body.

    `began_ms` is None where the seed is from an `Idempotency-Key`: what follows from it must not depend on the time.
    """

    seed: bytes
    digest: bytes
    began_ms: int | None

    def command_id(self, step: str = "") -> bytes:
        """The id of the request's command; `step` tells several of one request apart."""
        return derived_id("command", self.seed, step)

    def fresh_id(self, prefix: str) -> str:
        """The id of the thing that the request creates: a repeat meets the same stream. Without a key ids sort by time."""
        draw = derived_id("id", self.seed, prefix)
        return (
            prefix + (draw if self.began_ms is None else uuid7(self.began_ms, int.from_bytes(draw[:10], "big") & (1 << 74) - 1).bytes).hex()
        )


IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$",
        description="Your name for this request: within your organisation, and for the thing that is made or changed. Sent again it "
        "changes nothing more and has the first answer, however much later. Another method, path, query or body for the same thing under "
        "this name is refused (422, `idempotency-key-reused`). For another thing the same name is another request; take one for each.",
    ),
]  # fmt: skip


async def intent(request: Request, who: Caller, ports: Ports, key: str | None) -> Intent:
    """`key`: the request's `Idempotency-Key`. Without one every request is one of its own."""
    tenant = who.organisation_id or who.person_id or PLATFORM
    seed = ports.draw(16) if key is None else derived_id("idempotency-key", tenant, key)
    # `request.url` would be the same, put together and taken apart again.
    address = f"{request.method} {request.scope['path']}?".encode() + request.scope["query_string"]
    began_ms = int(ports.clock().timestamp() * 1000) if key is None else None
    # What was sent is compared, in whatever version: a body that was brought into a newer form is told apart by its older one.
    body = request.scope["state"].get(SENT) or await request.body()
    return Intent(seed=seed, began_ms=began_ms, digest=digest_of(address, body))
