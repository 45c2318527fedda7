"""What verbs need of the stack, and no more."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.apps.standing import addresses_of
from infra.apps.terminal import VerbFailed
from infra.settings import Settings

_NOBODY = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")


class TestAddresses:
    async def test_of_the_log_are_had_while_postgresql_is_away(
        self, settings: Settings, kafka: str, redis_url: str, tmp_path: Path
    ) -> None:
        given = {"state_dir": tmp_path, "kafka_bootstrap_servers": kafka, "database_url": _NOBODY, "redis_url": SecretStr(redis_url)}
        without = settings.model_copy(update=given)
        assert (await addresses_of(without, "kafka")).kafka == kafka
        with pytest.raises(VerbFailed, match="postgres is away"):
            await addresses_of(without)
