"""`aybiza down`: stop the local stack and keep its data."""

from infra.apps.terminal import watched
from infra.local.stack import stop_stack
from infra.settings import load_settings


async def down() -> None:
    """Stop the local Kafka, PostgreSQL and Redis. Their data stays; services at given addresses are left alone."""
    settings = load_settings()
    with watched() as progress:
        await stop_stack(settings.state_dir, settings, progress)
