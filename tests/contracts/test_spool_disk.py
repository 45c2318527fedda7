"""Where a spool lies: in a folder, and in a test's memory. Both keep what was synced, and nothing of the names they were told to forget."""

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from commands.spool.format import read_segment
from commands.spool.ports import SpoolDisk
from infra.adapters.spool_folder import SpoolFolder, SpoolFolders, SpoolInUse
from tests.commands.spool.disk import MemoryDisk
from tests.faults.spool_on_a_full_disk import INCARNATION


@pytest.fixture(params=["folder", "memory"])
async def disk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SpoolDisk]:
    if request.param == "memory":
        yield MemoryDisk()
        return
    folder = SpoolFolder(tmp_path / "spool" / "1764-ab")
    yield folder
    folder.close()


class TestSpoolDisk:
    async def test_has_nothing_at_first(self, disk: SpoolDisk) -> None:
        assert list(await disk.segments()) == []

    async def test_gives_back_what_was_appended_and_synced_in_order(self, disk: SpoolDisk) -> None:
        for name in ("00000002", "00000001"):
            await disk.append(name, b"one")
            await disk.append(name, b"two")
            await disk.sync(name)
            await disk.append(name, b"three")
            await disk.sync(name)
        assert list(await disk.segments()) == ["00000001", "00000002"]
        assert await disk.read("00000002") == b"onetwothree"

    async def test_syncs_what_was_not_changed(self, disk: SpoolDisk) -> None:
        await disk.append("00000001", b"one")
        await disk.sync("00000001")
        await disk.sync("00000001")
        assert await disk.read("00000001") == b"one"

    async def test_forgets_a_segment_whole_and_twice(self, disk: SpoolDisk) -> None:
        await disk.append("00000001", b"one")
        await disk.sync("00000001")
        for _ in range(2):
            await disk.delete("00000001")
        assert list(await disk.segments()) == []
        await disk.append("00000001", b"two")
        await disk.sync("00000001")
        assert await disk.read("00000001") == b"two"

    async def test_of_an_unknown_segment_says_so(self, disk: SpoolDisk) -> None:
        with pytest.raises(FileNotFoundError):
            await disk.read("00000009")


HOLDER = """
import asyncio, sys
from pathlib import Path
from infra.adapters.spool_folder import SpoolFolders

async def main() -> None:
    own = SpoolFolders(Path(sys.argv[1])).own("1764-ab")
    await own.append("00000001", b"kept")
    await own.sync("00000001")
    print("ready", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestSpoolFolders:
    async def test_give_nobody_the_spool_of_a_living_process_and_give_a_dead_ones_away_once(self, tmp_path: Path) -> None:
        holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, str(tmp_path), stdout=asyncio.subprocess.PIPE)
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"ready\n"
        folders = SpoolFolders(tmp_path)
        assert list(await folders.adopt()) == []
        holder.send_signal(signal.SIGKILL)
        await holder.wait()
        ((incarnation, disk),) = await folders.adopt()
        assert incarnation == "1764-ab"
        assert await disk.read("00000001") == b"kept"
        assert list(await folders.adopt()) == []
        assert list(await SpoolFolders(tmp_path).adopt()) == []
        await disk.delete("00000001")
        await folders.dismiss(incarnation)
        assert below(tmp_path) == []

    async def test_come_oldest_first_and_leave_ones_own_alone(self, tmp_path: Path) -> None:
        for incarnation in ("1764-b", "1763-c"):
            folder = SpoolFolders(tmp_path).own(incarnation)
            await folder.append("00000001", b"x")
            await folder.sync("00000001")
            folder.close()
        folders = SpoolFolders(tmp_path)
        own = folders.own("1765-a")
        assert [incarnation for incarnation, _ in await folders.adopt()] == ["1763-c", "1764-b"]
        own.close()
        folders.close()
        assert below(tmp_path) == ["1763-c", "1764-b"]

    async def test_let_a_process_have_its_spool_once(self, tmp_path: Path) -> None:
        own = SpoolFolders(tmp_path).own("1764-a")
        with pytest.raises(SpoolInUse, match="a living process has the spool"):
            SpoolFolders(tmp_path).own("1764-a")
        own.close()

    @pytest.mark.parametrize(("broken", "error"), [("write", errno.ENOSPC), ("fsync", errno.EIO)])
    async def test_say_when_the_disk_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, error: int) -> None:
        def failing(*_: object) -> int:
            raise OSError(error, os.strerror(error))

        folder = SpoolFolders(tmp_path).own("1764-a")
        fails: Callable[..., int] = failing
        monkeypatch.setattr(f"infra.adapters.spool_folder.os.{broken}", fails)
        await folder.append("00000001", b"x")
        with pytest.raises(OSError, match=os.strerror(error)):
            await folder.sync("00000001")
        monkeypatch.undo()
        await folder.delete("00000001")
        folder.close()
        assert below(tmp_path) == []


class TestFullDisk:
    async def test_costs_no_fact_that_was_kept_and_takes_none_until_there_is_room(self, tmp_path: Path) -> None:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.spool_on_a_full_disk", str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await program.communicate()
        seen = json.loads(answer.splitlines()[-1])
        assert not seen["kept_while_full"]
        assert not seen["takes_calls_while_full"]
        assert seen["takes_calls_after"]
        assert seen["kept_after"]
        assert 0 < seen["durable"] < seen["durable_after"] == seen["kept"]
        ((_, disk),) = await SpoolFolders(tmp_path).adopt()
        found: dict[int, int] = {}
        for name in await disk.segments():
            found |= {number: each.sequence for number, each in read_segment(await disk.read(name), INCARNATION).entries.items()}
        assert found == {n + 1: n for n in range(seen["kept"])}
