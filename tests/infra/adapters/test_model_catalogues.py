"""The model catalogues that are committed, and how contradictory ones are refused."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from commands.model_catalogue import catalogue_in_force, resolve
from infra.adapters.model_catalogues import MODELS, BrokenCatalogue, read_model_catalogues


def changed(source: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    entry = json.loads(source.read_text("utf-8"))
    change(entry)
    (folder / source.name).write_text(json.dumps(entry), "utf-8")
    return folder


class TestCommittedModels:
    def test_have_a_model_for_every_tier_and_every_name_of_the_owners_example(self) -> None:
        wanted = {"default": "claude-3-5-sonnet-v2", "fast": "claude-3-5-haiku", "complex": "claude-3-7-sonnet"}
        resolved = resolve(catalogue_in_force(read_model_catalogues(), date(2026, 11, 20)), wanted, region="us-east-1")
        assert resolved.unknown == ()
        assert resolved.models["fast"] == "us.anthropic.claude-haiku-4-5-20251001-v1:0"
        assert resolved.models.keys() == {"fast", "default", "complex", "thinking"}


class TestReadModelCatalogues:
    SOURCE = MODELS / "2026-11.json"

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            (lambda entry: entry.update(name="2026-12"), "unlike its file"),
            (lambda entry: entry["tiers"].pop("fast"), "tiers must be"),
            (lambda entry: entry["tiers"].update(fast="claude-9"), "tiers must be"),
            (lambda entry: entry["aliases"].update({"claude-2": "cheap"}), "leads to a tier"),
            (lambda entry: entry["models"]["claude-haiku-4-5"]["profiles"].update(us="us.other"), "a profile is"),
            (lambda entry: entry["models"]["claude-haiku-4-5"].update(ends_no_sooner_than="soon"), "isoformat"),
        ],
    )
    def test_refuses_what_contradicts_itself(self, tmp_path: Path, change: Callable[[Any], object], fault: str) -> None:
        with pytest.raises(BrokenCatalogue, match=fault):
            read_model_catalogues(changed(self.SOURCE, tmp_path, change))

    def test_refuses_two_catalogues_of_one_day(self, tmp_path: Path) -> None:
        shutil.copy(self.SOURCE, tmp_path)
        (tmp_path / "again.json").write_text(self.SOURCE.read_text().replace('"name": "2026-11"', '"name": "again"'))
        with pytest.raises(BrokenCatalogue, match="same day"):
            read_model_catalogues(tmp_path)
