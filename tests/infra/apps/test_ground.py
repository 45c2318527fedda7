"""The verbs that bring the ground up and look at it, as a person meets them."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from infra.local.ports import free_ports
from infra.local.stack import Addresses
from tests.infra.apps.command import aybiza


@pytest.fixture
def borrowed(stack: Addresses) -> dict[str, str]:
    """The session's Kafka and PostgreSQL, so that only a Redis has to be started."""
    return {"KAFKA_BOOTSTRAP_SERVERS": stack.kafka, "DATABASE_URL": stack.postgres}


class TestUp:
    def test_mends_what_status_says_has_died(self, borrowed: dict[str, str], tmp_path: Path) -> None:
        stopped = aybiza("status", "--json", state_dir=tmp_path, **borrowed)
        assert stopped.returncode == 1
        assert json.loads(stopped.stdout)["services"]["redis"]["condition"] == "stopped"

        up = aybiza("up", state_dir=tmp_path, **borrowed)
        assert up.returncode == 0, up.stderr
        assert "redis: is ready" in up.stderr
        running = aybiza("status", "--json", state_dir=tmp_path, **borrowed)
        assert running.returncode == 0
        os.kill(json.loads(running.stdout)["services"]["redis"]["pid"], signal.SIGKILL)

        died = aybiza("status", state_dir=tmp_path, **borrowed)
        assert died.returncode == 1
        assert "died" in died.stdout
        assert "Type: aybiza up" in died.stdout
        mended = aybiza("up", state_dir=tmp_path, **borrowed)
        assert "has died; starting it again" in mended.stderr
        assert aybiza("status", state_dir=tmp_path, **borrowed).returncode == 0
        assert aybiza("down", state_dir=tmp_path, **borrowed).returncode == 0

    def test_says_in_a_sentence_which_given_service_is_away(self, stack: Addresses, tmp_path: Path) -> None:
        away = f"redis://127.0.0.1:{free_ports(1)[0]}"
        up = aybiza("up", state_dir=tmp_path, KAFKA_BOOTSTRAP_SERVERS=stack.kafka, DATABASE_URL=stack.postgres, REDIS_URL=away)
        assert up.returncode == 1
        assert "redis does not answer at the address in REDIS_URL" in up.stderr
        assert "Traceback" not in up.stderr

    def test_says_that_the_state_folder_cannot_be_used(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        up = aybiza("up", state_dir=file / "state")
        assert up.returncode == 1
        assert "The state folder cannot be written" in up.stderr
        assert "Traceback" not in up.stderr

    def test_refuses_a_setting_that_it_does_not_know(self, tmp_path: Path) -> None:
        up = aybiza("up", state_dir=tmp_path, AYBIZA_HTTP_PROT="80")
        assert up.returncode == 1
        assert up.stderr == "AYBIZA_HTTP_PROT is not a setting of ours; did you mean AYBIZA_HTTP_PORT?\n"


class TestDoctor:
    def test_names_missing_programs_and_what_to_type(self, tmp_path: Path) -> None:
        doctor = aybiza("doctor", "--json", state_dir=tmp_path, PATH=str(tmp_path), JAVA_HOME="", AYBIZA_CACHE_DIR=str(tmp_path / "cache"))
        assert doctor.returncode == 1
        wrong = {finding["about"]: finding["remedy"] for finding in json.loads(doctor.stdout) if finding["state"] == "wrong"}
        assert wrong["java"] == "apt-get install openjdk-17-jre-headless"
        assert wrong["kafka"] == "apt-get install maven"
        assert wrong["flite"] == "apt-get install flite"

    def test_names_a_java_that_is_too_old(self, tmp_path: Path) -> None:
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
        java.chmod(0o755)
        doctor = aybiza("doctor", state_dir=tmp_path, JAVA_HOME=str(tmp_path))
        assert doctor.returncode == 1
        assert "is Java 11" in doctor.stdout

    def test_names_a_taken_port(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", free_ports(1)[0])) as server:
            port = str(server.getsockname()[1])
            doctor = aybiza("doctor", state_dir=tmp_path, AYBIZA_HTTP_PORT=port)
        assert doctor.returncode == 1
        assert f"{port} (AYBIZA_HTTP_PORT) is taken by process {os.getpid()}" in doctor.stdout

    def test_finds_nothing_wrong_where_the_tests_run(self, tmp_path: Path) -> None:
        doctor = aybiza("doctor", state_dir=tmp_path)
        assert doctor.returncode == 0, doctor.stdout


class TestHelp:
    def test_names_every_verb(self, tmp_path: Path) -> None:
        told = aybiza("--help", state_dir=tmp_path)
        assert told.returncode == 0
        assert all(verb in told.stdout for verb in ("up", "down", "status", "doctor"))

    def test_of_an_unknown_verb_is_a_sentence(self, tmp_path: Path) -> None:
        told = aybiza("frobnicate", state_dir=tmp_path)
        assert told.returncode == 2
        assert "No such command 'frobnicate'" in told.stderr
