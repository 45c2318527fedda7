"""Recordings and kept signals as objects in S3, with the checksum that the store itself checks; a piece of a recording is written once."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}/[A-Za-z0-9_-]{1,100}\Z")
_FOLDER: Final = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
_CONNECTIONS: Final = 32
# "At least one of the pre-conditions you specified did not hold": something lies there already.
_LIES_THERE: Final = "PreconditionFailed"


class S3Failed(OSError):
    """The store could not be reached or refused us; the text has its code."""


class _Bucket:
    """Objects of one kind in a bucket: every key begins with `prefix`. Raises S3Failed, and ValueError for a name that leads elsewhere."""

    kind = "an object"

    def __init__(self, client: Any, bucket: str, *, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    async def get(self, name: str) -> bytes | None:
        with _raising():
            try:
                answer = await self._client.get_object(Bucket=self._bucket, Key=self._key(name), ChecksumMode="ENABLED")
            except ClientError as cause:
                if _code(cause) == "NoSuchKey":
                    return None
                raise
            async with answer["Body"] as body:
                content: bytes = await body.read()
        return content

    async def remove(self, name: str) -> None:
        with _raising():
            await self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    async def _put(self, name: str, content: bytes, **conditions: str) -> None:
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()
        await self._client.put_object(
            Bucket=self._bucket, Key=self._key(name), Body=content, ChecksumSHA256=checksum, ContentType="application/octet-stream",
            **conditions,
        )  # fmt: skip

    def _key(self, name: str) -> str:
        if not _NAME.match(name):
            raise ValueError(f"{name!r} cannot be the name of {self.kind}")
        return self._prefix + name


class S3Recordings(_Bucket):
    """A RecordingStore over a client of aiobotocore's."""

    kind = "a recording"

    def __init__(self, client: Any, bucket: str, *, prefix: str = "recordings/") -> None:
        super().__init__(client, bucket, prefix=prefix)

    async def put(self, name: str, content: bytes) -> None:
        """Write where nothing lies yet. What lies there already is compared by the checksum that the store keeps."""
        with _raising():
            try:
                await self._put(name, content, IfNoneMatch="*")
            except ClientError as cause:
                if _code(cause) != _LIES_THERE:
                    raise
                if await self.get(name) != content:
                    raise S3Failed(f"{name} holds something else") from cause


class S3Signals(_Bucket):
    """A SignalStore over a client of aiobotocore's."""

    kind = "a stretch of signals"

    def __init__(self, client: Any, bucket: str, *, prefix: str = "signals/") -> None:
        super().__init__(client, bucket, prefix=prefix)

    async def put(self, name: str, content: bytes) -> None:
        with _raising():
            await self._put(name, content)

    async def names(self, folder: str) -> Sequence[str]:
        if not _FOLDER.match(folder):
            raise ValueError(f"{folder!r} cannot be the name of a call")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}{folder}/")
        with _raising():
            # The store lists keys in the order of their bytes.
            return [each["Key"].removeprefix(self._prefix) async for page in pages for each in page.get("Contents", ())]


@contextmanager
def _raising() -> Iterator[None]:
    """Every way in which a store fails is a S3Failed."""
    try:
        yield
    except ClientError as cause:
        raise S3Failed(_code(cause)) from cause
    except (BotoCoreError, aiohttp.ClientError, TimeoutError) as cause:
        raise S3Failed(type(cause).__name__) from cause


def _code(cause: ClientError) -> str:
    return str(cause.response.get("Error", {}).get("Code", "refused"))


@asynccontextmanager
async def s3_client(*, region: str, endpoint_url: str | None = None) -> AsyncIterator[Any]:
    """One for all that a process keeps. Credentials come the way every AWS program finds them."""
    config = AioConfig(
        connect_timeout=2, read_timeout=10, max_pool_connections=_CONNECTIONS, tcp_keepalive=True, signature_version="s3v4",
        retries={"total_max_attempts": 3, "mode": "standard"},
    )  # fmt: skip
    async with get_session().create_client("s3", region_name=region, endpoint_url=endpoint_url, config=config) as client:
        yield client
