"""Model catalogues as they lie under `schemas/models/`: read once in a root, and refused whole where they contradict themselves."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from commands.model_catalogue import TIERS, Model, ModelCatalogue

MODELS = Path(__file__).resolve().parents[2] / "schemas" / "models"


class BrokenCatalogue(ValueError):
    """A model catalogue cannot be used; the text names the file and what is wrong in it."""


def read_model_catalogues(folder: Path = MODELS) -> tuple[ModelCatalogue, ...]:
    """All catalogues, the oldest first. Raises BrokenCatalogue."""
    catalogues = []
    for path in sorted(folder.glob("*.json")):
        try:
            catalogues.append(_catalogue(path.stem, json.loads(path.read_text("utf-8"))))
        except (AttributeError, KeyError, TypeError, ValueError) as cause:
            raise BrokenCatalogue(f"{path}: {type(cause).__name__}: {cause}") from cause
    catalogues.sort(key=lambda catalogue: catalogue.effective_from)
    if len({catalogue.effective_from for catalogue in catalogues}) < len(catalogues):
        raise BrokenCatalogue(f"{folder}: two catalogues begin on the same day")
    return tuple(catalogues)


def _catalogue(stem: str, entry: Mapping[str, Any]) -> ModelCatalogue:
    if entry["name"] != stem:
        raise ValueError(f"the catalogue is called {entry['name']!r}, unlike its file")
    models = {name: _model(name, each) for name, each in entry["models"].items()}
    if entry["tiers"].keys() != set(TIERS) or not set(entry["tiers"].values()) <= models.keys():
        raise ValueError(f"tiers must be {', '.join(TIERS)}, each with a model of the catalogue")
    if not set(entry["aliases"].values()) <= set(TIERS) or entry["aliases"].keys() & models.keys():
        raise ValueError("an alias leads to a tier, and is no model's name")
    return ModelCatalogue(
        name=entry["name"], provider=entry["provider"], effective_from=date.fromisoformat(entry["effective_from"]),
        tiers=entry["tiers"], models=models, aliases=entry["aliases"],
    )  # fmt: skip


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    profiles, ends = entry["profiles"], entry["ends_no_sooner_than"]
    if "global" not in profiles or any(profile != f"{geography}.{entry['id']}" for geography, profile in profiles.items()):
        raise ValueError(f"{name}: a profile is its geography, a point and the model's id; one must be global")
    return Model(
        id=entry["id"], profiles=profiles, ends_no_sooner_than=None if ends is None else date.fromisoformat(ends),
        cache_minimum_tokens=entry.get("cache_minimum_tokens"), thinks=bool(entry.get("thinks", False)),
    )  # fmt: skip
