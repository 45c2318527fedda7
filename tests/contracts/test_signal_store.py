"""What every store of a call's signals keeps to: named objects, the newest under a name, listed in order."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.adapters.s3 import S3Failed, S3Signals, s3_client
from infra.adapters.signal_folder import SignalFolder
from infra.emulators.s3 import S3Emulator
from realtime.rerun.ports import SignalStore

KEY, SECRET = "AKIA" + "X" * 16, "s" * 40
NAMES = [f"call_1/MZ1-{number:06d}" for number in range(5)]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest_asyncio.fixture(params=["folder", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SignalStore]:
    if request.param == "folder":
        yield SignalFolder(tmp_path / "signals")
        return
    bucket = S3Emulator(bucket="tapes", access_key=KEY, secret_key=SECRET, page=2)
    async with bucket.serving() as url, s3_client(region="us-east-1", endpoint_url=url) as client:
        yield S3Signals(client, "tapes")


class TestSignalStore:
    async def test_gives_back_what_it_was_given(self, store: SignalStore) -> None:
        await store.put(NAMES[0], b"some")
        assert await store.get(NAMES[0]) == b"some"

    async def test_has_nothing_that_was_not_put_there(self, store: SignalStore) -> None:
        assert (await store.get(NAMES[0]), await store.names("call_1")) == (None, [])

    async def test_keeps_the_newest_under_a_name(self, store: SignalStore) -> None:
        await store.put(NAMES[0], b"some")
        await store.put(NAMES[0], b"other")
        assert await store.get(NAMES[0]) == b"other"

    async def test_lists_a_call_s_names_in_order_and_no_other_call_s(self, store: SignalStore) -> None:
        for name in [*reversed(NAMES), "call_10/MZ1-000000"]:
            await store.put(name, b"")
        assert list(await store.names("call_1")) == NAMES

    async def test_takes_no_name_that_leads_elsewhere(self, store: SignalStore) -> None:
        for name in ("../x", "", "a", "a/b/c", "a/../b", "a/b\n", "/a/b"):
            for asked in (store.put(name, b""), store.get(name)):
                with pytest.raises(ValueError, match="name of a stretch of signals"):
                    await asked
        with pytest.raises(ValueError, match="name of a call"):
            await store.names("../call_1")


async def test_is_away_when_nobody_answers() -> None:
    bucket = S3Emulator(bucket="tapes", access_key=KEY, secret_key=SECRET)
    async with bucket.serving() as url:
        pass
    async with s3_client(region="us-east-1", endpoint_url=url) as client:
        store = S3Signals(client, "tapes")
        with pytest.raises(S3Failed):
            await store.names("call_1")
