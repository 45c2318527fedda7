"""`aybiza up`: have Kafka, PostgreSQL and Redis running, mending what died, and leave them running."""

from infra.apps.terminal import results, watched
from infra.local.stack import ensure_stack
from infra.settings import load_settings


async def up() -> None:
    """Start the local stack, or mend it. Data is kept; what runs is left alone."""
    settings = load_settings()
    with watched() as progress:
        addresses = await ensure_stack(settings.state_dir, settings, progress)
    shown = {
        "kafka": addresses.kafka,
        "postgres": addresses.postgres if settings.database_url is None else "as DATABASE_URL says",
        "redis": addresses.redis if settings.redis_url is None else "as REDIS_URL says",
    }
    for name, address in shown.items():
        results.print(f"{name:<10}{address}", markup=False, soft_wrap=True)
