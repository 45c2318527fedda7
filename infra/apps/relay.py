"""`aybiza run relay`: admitted events on topics of their own, shared by partition among all such processes."""

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from commands.ports import Place
from events.rooms import ROOMS
from infra.adapters.kafka.relay import Relay, relayed
from infra.adapters.kafka.topics import ensure_topics, manifests
from infra.apps.alongside import alongside
from infra.apps.footing import ANY_PROCESS, opened_footing
from infra.apps.installation import Installation
from infra.apps.sharing import keep, share
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from infra.settings import Settings

FAILURES = ANY_PROCESS


@asynccontextmanager
async def running(settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with AsyncExitStack() as stack:
        footing = await stack.enter_async_context(opened_footing("relay", settings, services, installation))
        rooms = [manifest for manifest in manifests() if manifest.room in ROOMS]
        writers = settings.log_writers.split(",")
        # The relay of a new generation begins anew: nothing is copied from the one before.
        await ensure_topics(
            services.kafka,
            [relayed(room) for room in rooms],
            settings.surroundings,
            writers=writers,
            growing=True,
            security=footing.security,
        )
        topics = {room.topic(): relayed(room).topic() for room in rooms}
        relay = Relay(services.kafka, footing.reader, footing.kafka, topics, footing.security)

        async def work(places: Collection[Place] | None) -> None:
            await keep(partial(relay.run, places))

        await stack.enter_async_context(alongside({"relay": partial(share, footing.shared("relay", list(topics)), work)}))
        stack.enter_context(remembered(settings.state_dir, "relay"))
        yield f"admitted events are relayed to {', '.join(topics.values())}"
