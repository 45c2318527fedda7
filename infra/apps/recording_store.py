"""Where recordings lie: a folder beside the log's own state, or a bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from infra.adapters.recording_folder import RecordingFolder
from infra.adapters.s3 import open_s3
from infra.settings import Settings
from realtime.ports import RecordingStore


@asynccontextmanager
async def opened_recordings(settings: Settings) -> AsyncIterator[RecordingStore]:
    """As the settings say."""
    if settings.recordings_bucket is None:
        yield RecordingFolder(settings.state_dir / "recordings")
        return
    async with open_s3(settings.recordings_bucket, region=settings.bedrock_region, endpoint_url=settings.recordings_endpoint_url) as store:
        yield store
