"""`aybiza run processors`: the process managers, in one such process at a time, and what all of them share: webhooks, long work."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from infra.adapters.rate_tables import read_rate_tables
from infra.apps.footing import ANY_PROCESS, opened_footing
from infra.apps.installation import Installation
from infra.apps.long_work import running_operations
from infra.apps.owning import running_owners
from infra.apps.read_side import opened_read_models, running_processors
from infra.apps.webhooks import Sending, running_webhooks
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from infra.settings import Settings

FAILURES = ANY_PROCESS


@asynccontextmanager
async def running(settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with AsyncExitStack() as stack:
        footing = await stack.enter_async_context(opened_footing("processors", settings, services, installation))
        owning = await stack.enter_async_context(running_owners(footing))
        owners = owning.owners
        await stack.enter_async_context(running_processors(footing.reader, owners, read_rate_tables(), shared=footing.shared))
        models = await stack.enter_async_context(opened_read_models(footing.reader, postgres=services.postgres, redis=services.redis))
        sending = Sending(keyring=installation.key_ring, private=settings.webhooks_private)
        await stack.enter_async_context(
            running_webhooks(footing.reader, owners, models.rows.progress, sending, claims=owning.claims, shared=footing.shared)
        )
        await stack.enter_async_context(running_operations(footing, owners, owning.address))
        stack.enter_context(remembered(settings.state_dir, "processors", peer=owning.address))
        yield "process managers follow the log, webhooks are sent"
