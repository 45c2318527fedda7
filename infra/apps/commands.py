"""`aybiza run commands`: owners of the log's partitions, who decide what others ask for."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from infra.apps.footing import ANY_PROCESS, opened_footing
from infra.apps.installation import Installation
from infra.apps.owning import running_owners
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from infra.settings import Settings

FAILURES = ANY_PROCESS


@asynccontextmanager
async def running(settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with AsyncExitStack() as stack:
        footing = await stack.enter_async_context(opened_footing("commands", settings, services, installation))
        owning = await stack.enter_async_context(running_owners(footing))
        stack.enter_context(remembered(settings.state_dir, "commands", peer=owning.address))
        yield f"{owning.address}   owners of partitions, for the other processes; look at them with: aybiza owners"
