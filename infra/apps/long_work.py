"""What a process does of the operations that people asked for: its share of them, one after the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from api.exports import KIND
from commands.dispatch import Dispatch
from events.streams import topic_of
from infra.apps.alongside import alongside
from infra.apps.export_files import StoredExports
from infra.apps.exporting import export_work
from infra.apps.footing import Footing
from infra.apps.operations import Operating
from infra.apps.sharing import keep, share


@asynccontextmanager
async def running_operations(footing: Footing, dispatch: Dispatch, worker: str) -> AsyncIterator[None]:
    """Shared with every other process that does it. A bug of a work ends the whole."""
    keyring = footing.installation.key_ring
    files = StoredExports(store=footing.objects.exports, keyring=keyring)
    operating = Operating(
        reader=footing.reader, dispatch=dispatch, works={KIND: export_work(footing.reader, files, keyring)}, remove=files.remove,
        worker=worker, topic_of=topic_of, now=lambda: datetime.now(UTC),
    )  # fmt: skip
    members = footing.shared("operations", [topic_of("operations")])
    async with alongside({"operations": partial(share, members, lambda places: keep(partial(operating.run, places)))}):
        yield
