"""Pieces of recordings as objects in S3: written once, by a condition, with the checksum that the store itself checks."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9_-]{1,100}\Z")
_CONNECTIONS: Final = 32
# "At least one of the pre-conditions you specified did not hold": something lies there already.
_LIES_THERE: Final = "PreconditionFailed"


class S3Failed(OSError):
    """The store could not be reached or refused us; the text has its code."""


class S3Recordings:
    """A RecordingStore over a client of aiobotocore's. Every object's key begins with `prefix`."""

    def __init__(self, client: Any, bucket: str, *, prefix: str = "recordings/") -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    async def put(self, name: str, content: bytes) -> None:
        """Write where nothing lies yet. What lies there already is compared by the checksum that the store keeps."""
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        key = self._key(name)
        try:
            await self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ChecksumSHA256=checksum, IfNoneMatch="*",
                ContentType="application/octet-stream",
            )  # fmt: skip
        except ClientError as cause:
            if _code(cause) != _LIES_THERE:
                raise S3Failed(_code(cause)) from cause
            if await self.get(name) != content:
                raise S3Failed(f"{name} holds something else") from cause
        except (BotoCoreError, aiohttp.ClientError, TimeoutError) as cause:
            raise S3Failed(type(cause).__name__) from cause

    async def get(self, name: str) -> bytes | None:
        try:
            answer = await self._client.get_object(Bucket=self._bucket, Key=self._key(name), ChecksumMode="ENABLED")
            async with answer["Body"] as body:
                content: bytes = await body.read()
        except ClientError as cause:
            if _code(cause) == "NoSuchKey":
                return None
            raise S3Failed(_code(cause)) from cause
        except (BotoCoreError, aiohttp.ClientError, TimeoutError) as cause:
            raise S3Failed(type(cause).__name__) from cause
        return content

    def _key(self, name: str) -> str:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot be the name of a recording")
        return self._prefix + name


def _code(cause: ClientError) -> str:
    return str(cause.response.get("Error", {}).get("Code", "refused"))


@asynccontextmanager
async def open_s3(bucket: str, *, region: str, endpoint_url: str | None = None, prefix: str = "recordings/") -> AsyncIterator[S3Recordings]:
    """Credentials come the way every AWS program finds them."""
    config = AioConfig(
        connect_timeout=2, read_timeout=10, max_pool_connections=_CONNECTIONS, tcp_keepalive=True, signature_version="s3v4",
        retries={"total_max_attempts": 3, "mode": "standard"},
    )  # fmt: skip
    async with get_session().create_client("s3", region_name=region, endpoint_url=endpoint_url, config=config) as client:
        yield S3Recordings(client, bucket, prefix=prefix)
