"""An export by hand holds every fact once, however often it is killed and run again."""

import json
from pathlib import Path

import pytest

from events.consents import ConsentGranted, Purpose
from events.flags import FlagSet
from events.positions import Cursor
from events.sealing import KeyRing
from events.streams import StreamId
from infra.adapters.fact_files import Format
from infra.apps.export import Folder
from infra.apps.exporting import BadBound, Part, UnknownTypes, Wanted, bound_of, exported, types_of
from infra.apps.terminal import VerbFailed
from infra.local.stack import Addresses
from tests.projections.log import TestLog, open_log
from tests.realtime.world import keyring

AYB = "AYB-0000-0000-0000"
ASKED = {"format": "ndjson"}


class Killed(Exception):
    """The process ends here."""


class Fragile(Folder):
    """Dies before its so many-eth file is there."""

    left = 0

    def _write(self, name: str, content: bytes) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super()._write(name, content)


class Hasty(Fragile):
    """Keeps where it is before it keeps what it has: the mistake that the test must find."""

    def take(self, part: Part) -> None:
        files, part = part, part._replace(files=())
        super().take(part)
        super().take(files._replace(facts=0))


async def run(log: TestLog, ring: KeyRing, folder: Folder) -> None:
    parts = exported(log.reader, Wanted(form=Format.NDJSON), ring, resumed=folder.position, topic_of=log.topic_of, most_facts=3)
    async for part in parts:
        folder.take(part)


def held(folder: Path) -> list[str]:
    """The event ids in all files, in order."""
    lines = [line for file in folder.glob("part-*") for line in file.read_text().splitlines()]
    return sorted(json.loads(line)["event_id"] for line in lines)


def text_of(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.glob("part-*"))


class TestExport:
    @pytest.mark.parametrize("kind", [Fragile, Hasty])
    async def test_that_is_killed_at_any_write_loses_and_doubles_nothing(
        self, stack: Addresses, unique: str, tmp_path: Path, kind: type[Fragile]
    ) -> None:
        ring = keyring()
        async with open_log(stack.kafka, unique) as log:
            written = []
            for number in range(8):
                committed = await log.append(StreamId(AYB, "flags", f"f{number}"), FlagSet(enabled=True, variant=str(number)))
                written.append(str(committed.facts[0].event_id))
            # Each run dies a write later than the one before, the last one does not.
            left = 0
            while True:
                folder = kind(tmp_path, ASKED)
                folder.left = left = left + 1
                try:
                    await run(log, ring, folder)
                except Killed:
                    continue
                break
            assert left > 2
            assert (held(tmp_path) == sorted(written)) is (kind is Fragile)
            # What came since is all that the next run writes.
            before = held(tmp_path)
            committed = await log.append(StreamId(AYB, "flags", "g"), FlagSet(enabled=True, variant="g"))
            await run(log, ring, Folder(tmp_path, ASKED))
            assert set(held(tmp_path)) - set(before) == {str(committed.facts[0].event_id)}

    async def test_keeps_what_is_sealed(self, stack: Addresses, unique: str, tmp_path: Path) -> None:
        ring = keyring()
        async with open_log(stack.kafka, unique) as log:
            granted = ConsentGranted(subject=ring.seal("who", "+14155550123"), purpose=Purpose.RECORDING, evidence="e", expires_at=None)
            await log.append(StreamId(AYB, "consents", "0" * 32), granted)
            await run(log, ring, Folder(tmp_path, ASKED))
        assert "+14155550123" not in text_of(tmp_path)

    def test_does_not_go_on_with_another_one(self, tmp_path: Path) -> None:
        Folder(tmp_path, ASKED).take(Part((), 0, Cursor()))
        with pytest.raises(VerbFailed):
            Folder(tmp_path, {"format": "parquet"})


class TestBounds:
    @pytest.mark.parametrize("text", ["yesterday", "2026-11-21T10:00:00", "a:b"])
    def test_that_are_none_are_refused(self, text: str) -> None:
        with pytest.raises(BadBound):
            bound_of(text)

    def test_are_times_or_positions(self) -> None:
        assert bound_of(None) is None
        assert str(bound_of("2026-11-21T10:00:00Z")) == "2026-11-21 10:00:00+00:00"
        assert isinstance(bound_of("aybiza.flags.v1:0/5/0/"), Cursor)


class TestTypes:
    def test_stand_for_all_their_versions(self) -> None:
        assert types_of(["flag-set"]) == ["flag-set.v1"]
        with pytest.raises(UnknownTypes):
            types_of(["weather"])
