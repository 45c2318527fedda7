"""What Kafka's own tools are given."""

import pytest

from infra.local.kafka import cluster_id


class TestClusterId:
    @pytest.mark.parametrize("first", range(256))
    def test_is_22_characters_and_no_option(self, first: int) -> None:
        made = cluster_id(bytes([first]) + b"\xff" * 15)
        assert len(made) == 22
        assert not made.startswith("-")
