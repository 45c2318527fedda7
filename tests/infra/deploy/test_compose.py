"""What the containers are told agrees with what the program knows and what the local stack does; no Docker is needed to see it."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from infra.apps.whereabouts import Role
from infra.local.kafka import SETTINGS
from infra.settings import SettingsInvalid, load_settings

DEPLOY = Path(__file__).resolve().parents[3] / "infra" / "deploy"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, object]]:
    services: dict[str, dict[str, object]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


def environment(service: dict[str, object]) -> dict[str, str]:
    told = service["environment"]
    assert isinstance(told, dict)
    return told


class TestCompose:
    def test_runs_every_part_of_the_platform(self, services: dict[str, dict[str, object]]) -> None:
        parts = [name for name, service in services.items() if service.get("command") == ["run", name]]
        assert sorted(parts) == sorted(set(get_args(Role)) - {"all"})

    @pytest.mark.parametrize("part", ["api", "commands", "processors", "projections", "realtime", "relay"])
    def test_sets_only_what_the_program_knows(
        self, services: dict[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch, part: str
    ) -> None:
        for name, value in environment(services[part]).items():
            # What compose fills in from its own environment is empty or a default here.
            monkeypatch.setenv(name, "" if value.startswith("${") else value)
        settings = load_settings()
        assert settings.kafka_bootstrap_servers == "kafka:9092"
        assert settings.http_port == 8080

    def test_would_be_caught_setting_what_the_program_does_not_know(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AYBIZA_HTTP_HOSTS", "0.0.0.0")  # noqa: S104
        with pytest.raises(SettingsInvalid):
            load_settings()

    def test_keeps_the_log_as_the_local_stack_keeps_it(self, services: dict[str, dict[str, object]]) -> None:
        told = environment(services["kafka"])
        local = dict(line.split("=", 1) for line in SETTINGS.splitlines() if line and not line.startswith("#"))
        for name in (
            "auto.create.topics.enable",
            "log.retention.ms",
            "log.retention.bytes",
            "log.message.timestamp.type",
            "unclean.leader.election.enable",
            "num.partitions",
        ):
            assert told["KAFKA_" + name.upper().replace(".", "_")] == local[name], name

    def test_builds_the_image_from_every_floor(self) -> None:
        copied = (DEPLOY / "Dockerfile").read_text()
        floors = [path.parent.name for path in DEPLOY.parents[1].glob("*/__init__.py") if path.parent.name != "tests"]
        assert [floor for floor in sorted(floors) if f"COPY {floor} {floor}" not in copied] == []
