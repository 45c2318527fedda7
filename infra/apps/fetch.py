"""`aybiza fetch`: fetch beforehand what the local stack would fetch at its first start."""

from infra.apps.terminal import watched
from infra.local.java import ensure_jars
from infra.settings import load_settings


async def fetch() -> None:
    """Fetch Kafka's jars. Quick when they are there; not needed where the environment gives a Kafka."""
    settings = load_settings()
    if settings.kafka_bootstrap_servers is None:
        with watched() as progress:
            await ensure_jars(settings.cache_dir, progress)
