"""Where the platform listens, and what it says when it cannot."""

import pytest

from infra.apps.listening import AddressUnavailable, listen


class TestListen:
    def test_takes_a_free_port_when_none_is_named(self) -> None:
        with listen("127.0.0.1", None, setting="AYBIZA_HTTP_PORT") as listening:
            assert listening.getsockname()[1] > 0

    def test_says_which_setting_to_change_when_the_port_is_taken(self) -> None:
        with listen("127.0.0.1", None, setting="AYBIZA_HTTP_PORT") as taken:
            port = taken.getsockname()[1]
            with pytest.raises(AddressUnavailable, match=rf"127\.0\.0\.1:{port} .*Set AYBIZA_HTTP_PORT to a free port"):
                listen("127.0.0.1", port, setting="AYBIZA_HTTP_PORT")
