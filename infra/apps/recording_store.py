"""Where recordings, the signals of calls and the files of exports lie: folders beside the log's own state, or a bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from infra.adapters.recording_folder import RecordingFolder
from infra.adapters.signal_folder import SignalFolder
from infra.apps.export_files import FileStore
from infra.settings import Settings
from realtime.ports import RecordingStore
from realtime.rerun.ports import SignalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStores:
    recordings: RecordingStore
    signals: SignalStore
    exports: FileStore


@asynccontextmanager
async def opened_objects(settings: Settings) -> AsyncIterator[ObjectStores]:
    """As the settings say."""
    bucket = settings.recordings_bucket
    if bucket is None:
        folder = settings.state_dir
        yield ObjectStores(
            recordings=RecordingFolder(folder / "recordings"), signals=SignalFolder(folder / "signals"),
            exports=RecordingFolder(folder / "exports"),
        )  # fmt: skip
        return
    # The SDK costs memory and time: only who asks for it has it.
    from infra.adapters.s3 import S3Recordings, S3Signals, s3_client  # noqa: PLC0415

    async with s3_client(region=settings.bedrock_region, endpoint_url=settings.recordings_endpoint_url) as client:
        yield ObjectStores(
            recordings=S3Recordings(client, bucket), signals=S3Signals(client, bucket),
            exports=S3Recordings(client, bucket, prefix="exports/"),
        )  # fmt: skip
