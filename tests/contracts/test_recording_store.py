"""What every store of recordings keeps to: an object is there whole, once, and is what it was."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra.adapters.recording_folder import RecordingFolder
from infra.adapters.s3 import S3Failed, S3Recordings, s3_client
from infra.apps.export_files import FileStore
from infra.emulators.s3 import S3Emulator

KEY, SECRET = "AKIA" + "X" * 16, "s" * 40
NAME = "call_1/MZ1-000000020"
CONTENT = bytes(range(256)) * 400


def emulator() -> S3Emulator:
    return S3Emulator(bucket="tapes", access_key=KEY, secret_key=SECRET)


@asynccontextmanager
async def opened(bucket: str, url: str) -> AsyncIterator[S3Recordings]:
    async with s3_client(region="us-east-1", endpoint_url=url) as client:
        yield S3Recordings(client, bucket)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest_asyncio.fixture(params=["folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileStore]:
    if request.param == "folder":
        yield RecordingFolder(tmp_path / "tapes")
        return
    async with emulator().serving() as url, opened("tapes", url) as there:
        yield there


class TestRecordingStore:
    async def test_gives_back_what_it_was_given(self, store: FileStore) -> None:
        await store.put(NAME, CONTENT)
        assert await store.get(NAME) == CONTENT

    async def test_has_nothing_that_was_not_put_there(self, store: FileStore) -> None:
        assert await store.get(NAME) is None

    async def test_takes_the_same_again_and_nothing_else_under_the_name(self, store: FileStore) -> None:
        await store.put(NAME, CONTENT)
        await store.put(NAME, CONTENT)
        with pytest.raises(OSError, match="something else"):
            await store.put(NAME, b"other")
        assert await store.get(NAME) == CONTENT

    async def test_removes_what_is_there_and_what_is_not(self, store: FileStore) -> None:
        await store.put(NAME, CONTENT)
        for _ in range(2):
            await store.remove(NAME)
            assert await store.get(NAME) is None
        await store.put(NAME, b"other")
        assert await store.get(NAME) == b"other"

    async def test_takes_no_name_that_leads_elsewhere(self, store: FileStore) -> None:
        for name in ("../x", "", "a", "a/b/c", "a/../b", "a/b\n", "/a/b"):
            for asked in (store.put(name, b""), store.get(name), store.remove(name)):
                with pytest.raises(ValueError, match="name of a recording"):
                    await asked


class TestS3:
    async def test_tries_again_when_it_is_asked_to_slow_down(self) -> None:
        bucket = emulator()
        bucket.failing = 2
        async with bucket.serving() as url, opened("tapes", url) as store:
            await store.put(NAME, CONTENT)
        assert (bucket.refusals, bucket.puts) == (["SlowDown", "SlowDown"], 1)

    async def test_is_away_when_it_goes_on_refusing(self) -> None:
        bucket = emulator()
        bucket.failing = 100
        async with bucket.serving() as url, opened("tapes", url) as store:
            with pytest.raises(S3Failed, match="SlowDown"):
                await store.put(NAME, CONTENT)

    async def test_is_away_when_nobody_answers(self) -> None:
        async with emulator().serving() as url:
            pass
        async with opened("tapes", url) as store:
            with pytest.raises(S3Failed):
                await store.put(NAME, CONTENT)

    @pytest.mark.parametrize(
        ("secret", "bucket", "code"), [("t" * 40, "tapes", "SignatureDoesNotMatch"), (SECRET, "others", "NoSuchBucket")]
    )
    async def test_says_why_it_is_refused(self, monkeypatch: pytest.MonkeyPatch, secret: str, bucket: str, code: str) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        async with emulator().serving() as url, opened(bucket, url) as store:
            with pytest.raises(S3Failed, match=code):
                await store.put(NAME, CONTENT)

    async def test_sends_the_checksum_that_the_store_checks(self) -> None:
        bucket = emulator()
        async with bucket.serving() as url, opened("tapes", url) as store:
            await store.put(NAME, CONTENT)
        ((body, checksum),) = bucket.objects.values()
        assert (body, list(bucket.objects)) == (CONTENT, [f"recordings/{NAME}"])
        assert checksum


class TestTheEmulatedBucket:
    """It has to be strict, or the tests above prove nothing."""

    @pytest.mark.parametrize(
        ("tampering", "code"),
        [
            ("none", None), ("body", "XAmzContentSHA256Mismatch"), ("path", "SignatureDoesNotMatch"), ("unsigned", "AccessDenied"),
            ("anonymous", "InvalidAccessKeyId"), ("checksum", "BadDigest"),
        ],
    )  # fmt: skip
    async def test_refuses_what_s3_refuses(self, tampering: str, code: str | None) -> None:
        bucket = emulator()
        async with bucket.serving() as url, aiohttp.ClientSession() as http:
            headers = {"x-amz-content-sha256": hashlib.sha256(b"body").hexdigest(), "Host": url.partition("://")[2]}
            if tampering == "checksum":
                headers["x-amz-checksum-sha256"] = "AAAA"
            request = AWSRequest("PUT", f"{url}/tapes/a", headers=headers, data=b"body")
            request.context["timestamp"] = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
            SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
            sent = {name: value for name, value in request.headers.items() if tampering != "anonymous" or name != "Authorization"}
            if tampering == "unsigned":
                sent["x-amz-acl"] = "public-read"
            path, body = ("/tapes/b" if tampering == "path" else "/tapes/a"), (b"bodY" if tampering == "body" else b"body")
            async with http.put(url + path, data=body, headers=sent, skip_auto_headers=["Content-Type"]) as answer:
                text = await answer.text()
        assert (answer.status == 200) == (code is None)
        assert code is None or f"<Code>{code}</Code>" in text
