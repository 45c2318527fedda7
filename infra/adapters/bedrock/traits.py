"""What a model of the provider's can do beyond answering, by its id, as the catalogues under `schemas/models/` say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from commands.model_catalogue import ModelCatalogue

_VENDOR: Final = "anthropic."


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """`cache_minimum_tokens`: from how long a beginning on it is worth a cache point; None: never. `thinks`: at length, if asked to."""

    cache_minimum_tokens: int | None = None
    thinks: bool = False


PLAIN: Final = Traits()
Known: TypeAlias = Mapping[str, Traits]


def known(catalogues: Iterable[ModelCatalogue]) -> Known:
    """Every model of every catalogue by its id; of one that stands in several the last word counts."""
    return {
        model.id: Traits(cache_minimum_tokens=model.cache_minimum_tokens, thinks=model.thinks)
        for catalogue in catalogues
        for model in catalogue.models.values()
    }


def traits_of(model: str, models: Known) -> Traits:
    """An inference profile has the traits of its model; one that no catalogue knows is asked for nothing special."""
    geography, vendor, name = model.rpartition(_VENDOR)
    return models.get(f"{vendor}{name}", PLAIN) if not geography or geography.endswith(".") else PLAIN
