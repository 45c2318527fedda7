"""`aybiza schemas`: what a person is told about the schemas."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from events.registry import known_types
from infra.adapters.avro import files
from infra.apps.schemas import schemas
from infra.apps.terminal import VerbFailed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the schemas, where a verb may do its worst."""
    copy = tmp_path / "schemas"
    shutil.copytree(files.SCHEMAS, copy)
    monkeypatch.setattr(files, "SCHEMAS", copy)
    return copy


class TestCheck:
    def test_agrees_with_what_is_committed(self) -> None:
        assert CliRunner().invoke(schemas, ["check"]).exit_code == 0

    def test_fails_with_each_fault_and_what_to_type(self, folder: Path) -> None:
        (folder / "events" / "flags" / "flag-set.v1.avsc").write_text("{}")
        [golden] = (folder / "golden" / "flags").glob("flag-removed.*")
        golden.unlink()
        failed = CliRunner().invoke(schemas, ["check"]).exception
        assert isinstance(failed, VerbFailed)
        assert "flag-set.v1.avsc is not what the class says" in str(failed)
        assert f"{golden.name} is missing" in str(failed)
        assert "aybiza schemas write" in str(failed)


class TestWrite:
    def test_writes_what_is_missing_and_names_it(self, folder: Path) -> None:
        shutil.rmtree(folder / "events" / "flags")
        said = CliRunner().invoke(schemas, ["write"])
        assert said.exit_code == 0
        assert "schemas/events/flags/flag-set.v1.avsc" in said.output
        assert files.check(folder, list(known_types())) == []

    def test_writes_nothing_where_a_class_breaks_with_the_past(self, folder: Path) -> None:
        [golden] = (folder / "golden" / "flags").glob("flag-removed.*")
        shutil.rmtree(folder / "events" / "flags")
        text = golden.read_text().replace('"flag-removed"', '"flag-frozen"')
        golden.with_name("flag-frozen.v1.0000000000000000.json").write_text(text)
        failed = CliRunner().invoke(schemas, ["write"]).exception
        assert isinstance(failed, VerbFailed)
        assert "no class is declared as flag-frozen.v1" in str(failed)
        assert not (folder / "events" / "flags").exists()
