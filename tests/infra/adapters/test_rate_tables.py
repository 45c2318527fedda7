"""The price tables that are committed, and how doubtful ones are refused."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from commands.rates import Verified, in_force
from events.usage import Meter
from infra.adapters.model_catalogues import read_model_catalogues
from infra.adapters.rate_tables import RATES, BrokenRateTable, read_rate_tables


def changed(source: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    entry = json.loads(source.read_text("utf-8"))
    change(entry)
    (folder / source.name).write_text(json.dumps(entry), "utf-8")
    return folder


class TestCommittedRates:
    TABLE = in_force(read_rate_tables(), date(2026, 11, 20))

    @pytest.mark.parametrize(
        ("provider", "meter", "unit_price"),
        [
            ("twilio", Meter.TELEPHONY_SECONDS, "0.000141666667"),
            ("deepgram/nova-3", Meter.RECOGNITION_SECONDS, "0.00008"),
            ("deepgram/nova-3-multilingual", Meter.RECOGNITION_SECONDS, "0.000096666667"),
            ("deepgram/flux", Meter.RECOGNITION_SECONDS, "0.000108333333"),
            ("deepgram/aura-2", Meter.SYNTHESIS_CHARACTERS, "0.00003"),
            ("polly/neural", Meter.SYNTHESIS_CHARACTERS, "0.000016"),
            ("bedrock/global.anthropic.claude-haiku-4-5-20251001-v1:0", Meter.MODEL_INPUT_TOKENS, "0.000001"),
            ("bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", Meter.MODEL_OUTPUT_TOKENS, "0.0000055"),
            ("bedrock/eu.anthropic.claude-sonnet-4-6", Meter.MODEL_CACHE_READ_TOKENS, "0.00000033"),
        ],
    )
    def test_say_the_price_of_a_unit(self, provider: str, meter: Meter, unit_price: str) -> None:
        assert self.TABLE.prices[provider, meter].unit_price == Decimal(unit_price)

    def test_name_the_entry_that_a_price_is_from(self) -> None:
        assert self.TABLE.prices["twilio", Meter.TELEPHONY_SECONDS].rate == "2026-11 twilio-us-inbound-local"

    def test_know_which_prices_were_verified(self) -> None:
        verified = Verified(read_rate_tables())
        assert verified.rate("2026-11 twilio-us-inbound-local")
        assert not verified.rate("2026-11 deepgram-aura-2")
        assert not verified.rate("1999-01 anything")
        for day, provider, meter, known in (
            (date(2026, 11, 20), "twilio", "telephony-seconds", True),
            (date(2026, 11, 20), "deepgram/aura-2", "synthesis-characters", False),
            (date(1999, 1, 1), "twilio", "telephony-seconds", False),
            (date(2026, 11, 20), "twilio", "odd", False),
        ):
            assert verified.on(day, provider, meter) == known

    def test_price_every_model_of_the_catalogue_wherever_it_runs(self) -> None:
        for catalogue in read_model_catalogues():
            for model in catalogue.models.values():
                for profile in (model.id, *model.profiles.values()):
                    for meter in Meter:
                        if meter.value.startswith("model-"):
                            assert (f"{catalogue.provider}/{profile}", meter) in self.TABLE.prices


class TestReadRateTables:
    SOURCE = RATES / "2026-11.json"

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            (lambda entry: entry.update(name="2026-12"), "unlike its file"),
            (lambda entry: entry["entries"].append(entry["entries"][0]), "two prices"),
            (lambda entry: entry["entries"][0].update(per=60), "written as text"),
            (lambda entry: entry["entries"][0].update(per="0"), "above zero"),
            (lambda entry: entry["entries"][0]["amounts"].update({"telephony-seconds": "free"}), "InvalidOperation"),
            (lambda entry: entry["entries"][0]["amounts"].update({"telephone-seconds": "1"}), "telephone-seconds"),
            (lambda entry: entry["entries"][0].pop("source"), "source"),
            (lambda entry: entry["entries"][0].update(source="a friend"), "where it is from"),
            (lambda entry: entry["entries"][0].update(as_of="today"), "isoformat"),
        ],
    )
    def test_refuses_what_is_doubtful(self, tmp_path: Path, change: Callable[[Any], object], fault: str) -> None:
        with pytest.raises(BrokenRateTable, match=fault):
            read_rate_tables(changed(self.SOURCE, tmp_path, change))

    def test_refuses_two_tables_of_one_day(self, tmp_path: Path) -> None:
        shutil.copy(self.SOURCE, tmp_path)
        (tmp_path / "again.json").write_text(self.SOURCE.read_text().replace('"name": "2026-11"', '"name": "again"'))
        with pytest.raises(BrokenRateTable, match="same day"):
            read_rate_tables(tmp_path)
