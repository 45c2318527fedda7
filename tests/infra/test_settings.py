"""What the environment may say, and what it is told when it says it wrongly."""

from pathlib import Path

import pytest

from infra.settings import SettingsInvalid, load_settings


class TestLoadSettings:
    def test_takes_the_plain_names_that_others_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092")
        monkeypatch.setenv("DATABASE_URL", "postgresql://host/db")
        monkeypatch.setenv("REDIS_URL", "redis://host")
        settings = load_settings()
        assert settings.kafka_bootstrap_servers == "kafka:9092"
        assert settings.database_url is not None
        assert settings.database_url.get_secret_value() == "postgresql://host/db"
        assert settings.redis_url is not None

    def test_prefers_our_own_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "theirs:9092")
        monkeypatch.setenv("AYBIZA_KAFKA_BOOTSTRAP_SERVERS", "ours:9092")
        assert load_settings().kafka_bootstrap_servers == "ours:9092"

    def test_takes_an_empty_value_for_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_URL", "")
        monkeypatch.setenv("AYBIZA_HTTP_PORT", "")
        settings = load_settings()
        assert settings.redis_url is None
        assert settings.http_port is None

    def test_makes_folders_absolute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AYBIZA_STATE_DIR", "somewhere")
        settings = load_settings()
        assert settings.state_dir == Path.cwd() / "somewhere"
        assert settings.wrapping_key_file.is_relative_to(settings.state_dir)

    @pytest.mark.parametrize(
        ("variable", "value", "sentence"),
        [
            ("AYBIZA_HTTP_PORT", "99999", "AYBIZA_HTTP_PORT: Input should be less than or equal to 65535"),
            ("AYBIZA_ENGINES", "magic", "AYBIZA_ENGINES: Input should be 'embedded' or 'providers'"),
            ("AYBIZA_PUBLIC_URL", "example.com", "AYBIZA_PUBLIC_URL: String should match pattern"),
            ("AYBIZA_BEDROCK_MODELS", '{"fst": "id"}', "AYBIZA_BEDROCK_MODELS (at fst.[key]): Input should be 'fast'"),
            ("AYBIZA_BEDROCK_MODELS", "{fast", "it is not JSON"),
            ("AYBIZA_PEER_KEY_FILE", "key.pem", "AYBIZA_PEER_CA_FILE, AYBIZA_PEER_CERTIFICATE_FILE and AYBIZA_PEER_KEY_FILE go together"),
            ("AYBIZA_OWNED", "half", "AYBIZA_OWNED: String should match pattern"),
            ("AYBIZA_OWNED", "4/3", "AYBIZA_OWNED: Value error, there is no process 4 of 3"),
            ("TWILIO_ACCOUNT_SID", "AC1", "AYBIZA_TWILIO_ACCOUNT_SID: String should match pattern"),
            ("AYBIZA_STAE_DIR", "/tmp/x", "AYBIZA_STAE_DIR is not a setting of ours; did you mean AYBIZA_STATE_DIR?"),  # noqa: S108
        ],
    )
    def test_names_the_variable_and_what_is_wrong(self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str) -> None:
        monkeypatch.setenv(variable, value)
        with pytest.raises(SettingsInvalid) as raised:
            load_settings()
        assert sentence in str(raised.value)

    def test_never_repeats_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", "hush-hush")
        assert "hush-hush" not in repr(load_settings())
        monkeypatch.setenv("AYBIZA_HTTP_PORT", "x")
        with pytest.raises(SettingsInvalid) as raised:
            load_settings()
        assert "hush-hush" not in str(raised.value)
