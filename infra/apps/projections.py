"""`aybiza run projections`: the log folded into PostgreSQL and Redis, shared by partition among all such processes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from infra.adapters.kafka.reader import KafkaLogReader
from infra.apps.allocating import allocate_for_groups
from infra.apps.cold_parts import packed_after
from infra.apps.footing import ANY_PROCESS, opened_footing
from infra.apps.installation import Installation
from infra.apps.lag import seen_lag
from infra.apps.read_side import opened_stores, running_projections
from infra.apps.whereabouts import remembered
from infra.local.stack import Addresses
from infra.settings import Settings

FAILURES = ANY_PROCESS
# At hundreds of commands a second two or three are written together, for the price of one; nobody sees his own later than this for it.
_GATHER_SECONDS = 0.01


@asynccontextmanager
async def running(settings: Settings, services: Addresses, installation: Installation) -> AsyncIterator[str]:
    """The value is what a person is told. Raises FAILURES."""
    async with AsyncExitStack() as stack:
        allocate_for_groups()
        footing = await stack.enter_async_context(opened_footing("projections", settings, services, installation))
        reader = KafkaLogReader(services.kafka, footing.schemas, security=footing.security, gather_seconds=_GATHER_SECONDS)
        stores = await stack.enter_async_context(opened_stores(postgres=services.postgres, redis=services.redis))
        await stack.enter_async_context(running_projections(reader, stores, shared=footing.shared, packed_after=packed_after(settings)))
        await stack.enter_async_context(seen_lag(settings, footing.reader, stores.pool))
        stack.enter_context(remembered(settings.state_dir, "projections"))
        yield "projections follow the log"
