"""Which model of the provider a name stands for: our tiers, the provider's names, and names of models that are no more."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

TIERS: Final = ("fast", "default", "complex", "thinking")
_RELEASE: Final = re.compile(r"-\d{8}(-v\d+(:\d+)?)?\Z")
# Bedrock routes within a geography; anywhere else only its world-wide profile answers.
_GEOGRAPHIES: Final = (("us-", "us"), ("ca-", "us"), ("eu-", "eu"), ("ap-northeast-1", "jp"), ("ap-northeast-3", "jp"), ("ap-", "apac"))


class NoCatalogue(LookupError):
    """No catalogue was in force on that day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model's id at the provider, and its inference profiles by geography; `global` is always among them.

    `cache_minimum_tokens`: from how long a beginning on the provider keeps it for the next request; None where it never does.
    `thinks`: whether it can think at length before it answers.
    """

    id: str
    profiles: Mapping[str, str]
    ends_no_sooner_than: date | None = None
    cache_minimum_tokens: int | None = None
    thinks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCatalogue:
    """What is to be had from a day on. `tiers` name models; `aliases` lead names of models that are no more to a tier."""

    name: str
    provider: str
    effective_from: date
    tiers: Mapping[str, str]
    models: Mapping[str, Model]
    aliases: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The provider's id for every tier, and the names that nobody knows: their tiers have the catalogue's model."""

    models: Mapping[str, str]
    unknown: tuple[str, ...]


def resolve(catalogue: ModelCatalogue, wanted: Mapping[str, str], *, region: str, pinned: Mapping[str, str] | None = None) -> Resolved:
    """Find the models of an agent. `wanted` is its configuration's: a tier's name to that of a model, an old model, or a tier.

    `pinned` names ids of the provider by tier, and goes before everything.
    """
    models, unknown = {}, []
    for tier in TIERS:
        name = wanted.get(tier, tier)
        model = _model_named(catalogue, name)
        if model is None:
            unknown.append(name)
            model = catalogue.models[catalogue.tiers[tier]]
        models[tier] = _profile(model, region)
    return Resolved(models={**models, **(pinned or {})}, unknown=tuple(unknown))


def elsewhere(catalogue: ModelCatalogue, region: str, other: str) -> Mapping[str, str]:
    """Which id in another region answers as each does in this one."""
    return {_profile(model, region): _profile(model, other) for model in catalogue.models.values()}


def catalogue_in_force(catalogues: Sequence[ModelCatalogue], day: date) -> ModelCatalogue:
    """The catalogue of a day. Raises NoCatalogue before the first one."""
    begun = [catalogue for catalogue in catalogues if catalogue.effective_from <= day]
    if not begun:
        raise NoCatalogue(f"no model catalogue was in force on {day.isoformat()}; add one that begins on that day or before")
    return max(begun, key=lambda catalogue: catalogue.effective_from)


def _model_named(catalogue: ModelCatalogue, name: str) -> Model | None:
    plain = name.strip().lower().replace("_", "-").rpartition("anthropic.")[2]
    for model in catalogue.models.values():
        if plain == model.id.removeprefix("anthropic."):
            return model
    undated = _RELEASE.sub("", plain)
    if undated in catalogue.models:
        return catalogue.models[undated]
    tier = catalogue.aliases.get(undated, undated)
    return catalogue.models[catalogue.tiers[tier]] if tier in catalogue.tiers else None


def _profile(model: Model, region: str) -> str:
    for prefix, geography in _GEOGRAPHIES:
        if region.startswith(prefix) and geography in model.profiles:
            return model.profiles[geography]
    return model.profiles["global"]
