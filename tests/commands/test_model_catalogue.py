"""Which model a name stands for."""

from datetime import date

import pytest

from commands.model_catalogue import Model, ModelCatalogue, NoCatalogue, catalogue_in_force, resolve


def model(name: str, *geographies: str) -> Model:
    return Model(id=f"anthropic.{name}", profiles={place: f"{place}.anthropic.{name}" for place in ("global", *geographies)})


CATALOGUE = ModelCatalogue(
    name="2026-11",
    provider="bedrock",
    effective_from=date(2026, 11, 1),
    tiers={"fast": "claude-haiku-4-5", "default": "claude-sonnet-4-6", "complex": "claude-opus-4-6", "thinking": "claude-sonnet-4-6"},
    models={
        "claude-haiku-4-5": model("claude-haiku-4-5-20251001-v1:0", "us", "eu"),
        "claude-sonnet-4-6": model("claude-sonnet-4-6", "us", "eu", "jp"),
        "claude-opus-4-6": model("claude-opus-4-6-v1", "us", "eu", "apac"),
    },
    aliases={"claude-3-5-haiku": "fast", "claude-3-5-sonnet-v2": "default", "claude-3-5-sonnet": "default", "claude-3-7-sonnet": "complex"},
)
HAIKU, SONNET, OPUS = "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-sonnet-4-6", "us.anthropic.claude-opus-4-6-v1"


class TestResolve:
    def test_gives_every_tier_a_model_of_the_region(self) -> None:
        resolved = resolve(CATALOGUE, {}, region="us-east-1")
        assert resolved.models == {"fast": HAIKU, "default": SONNET, "complex": OPUS, "thinking": SONNET}
        assert resolved.unknown == ()

    def test_leads_names_of_models_that_are_no_more_to_their_tier(self) -> None:
        wanted = {"default": "claude-3-5-sonnet-v2", "fast": "claude-3-5-haiku", "complex": "claude-3-7-sonnet"}
        assert resolve(CATALOGUE, wanted, region="us-east-1").models == resolve(CATALOGUE, {}, region="us-east-1").models

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("fast", HAIKU),
            ("claude-haiku-4-5", HAIKU),
            ("Claude_Haiku_4_5", HAIKU),
            ("claude-haiku-4-5-20251001", HAIKU),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", HAIKU),
            ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", HAIKU),
            ("anthropic.claude-opus-4-6-v1", OPUS),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", HAIKU),
            ("anthropic.claude-3-7-sonnet-20250219-v1:0", OPUS),
        ],
    )
    def test_knows_a_model_by_each_of_its_names(self, name: str, found: str) -> None:
        assert resolve(CATALOGUE, {"default": name}, region="us-east-1").models["default"] == found

    def test_answers_an_unknown_name_with_the_tiers_own_model_and_says_so(self) -> None:
        resolved = resolve(CATALOGUE, {"default": "gpt-9"}, region="us-east-1")
        assert resolved.models["default"] == SONNET
        assert resolved.unknown == ("gpt-9",)

    @pytest.mark.parametrize(
        ("region", "profile"),
        [
            ("eu-central-1", "eu.anthropic.claude-opus-4-6-v1"),
            ("ap-southeast-2", "apac.anthropic.claude-opus-4-6-v1"),
            ("ap-northeast-1", "apac.anthropic.claude-opus-4-6-v1"),
            ("sa-east-1", "global.anthropic.claude-opus-4-6-v1"),
        ],
    )
    def test_stays_in_the_regions_geography_where_the_model_does(self, region: str, profile: str) -> None:
        assert resolve(CATALOGUE, {}, region=region).models["complex"] == profile

    def test_lets_a_pinned_id_go_before_everything(self) -> None:
        pinned = {"fast": "arn:aws:bedrock:us-east-1:1:inference-profile/ours"}
        assert resolve(CATALOGUE, {"fast": "claude-opus-4-6"}, region="us-east-1", pinned=pinned).models["fast"] == pinned["fast"]


class TestCatalogueInForce:
    def test_is_the_last_one_that_has_begun(self) -> None:
        assert catalogue_in_force([CATALOGUE], date(2026, 11, 1)) is CATALOGUE

    def test_is_missing_before_the_first_one(self) -> None:
        with pytest.raises(NoCatalogue):
            catalogue_in_force([CATALOGUE], date(2026, 10, 31))
