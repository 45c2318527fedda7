"""A token opens one socket, once, soon, for one call of the carrier's."""

import pytest

from realtime.carrier.tokens import TokenRefused, Tokens, TokenWrong

NOW = 1_800_000_000.0


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(b"k" * 32, lifetime_seconds=60)


def refused(tokens: Tokens, token: str, call_sid: str = "CA1", now: float = NOW) -> TokenWrong:
    with pytest.raises(TokenRefused) as raised:
        tokens.redeem(token, call_sid, now)
    return raised.value.wrong


class TestToken:
    def test_opens_the_call_it_was_issued_for(self, tokens: Tokens) -> None:
        assert tokens.redeem(tokens.issue("call_1", "CA1", NOW), "CA1", NOW + 60) == "call_1"

    def test_opens_nothing_twice(self, tokens: Tokens) -> None:
        token = tokens.issue("call_1", "CA1", NOW)
        tokens.redeem(token, "CA1", NOW)
        assert refused(tokens, token) is TokenWrong.USED

    def test_opens_nothing_for_another_call_of_the_carriers(self, tokens: Tokens) -> None:
        assert refused(tokens, tokens.issue("call_1", "CA1", NOW), "CA2") is TokenWrong.FORGED

    def test_opens_nothing_after_its_time(self, tokens: Tokens) -> None:
        assert refused(tokens, tokens.issue("call_1", "CA1", NOW), now=NOW + 61) is TokenWrong.EXPIRED

    def test_opens_nothing_once_altered(self, tokens: Tokens) -> None:
        token = tokens.issue("call_1", "CA1", NOW)
        for at in range(len(token)):
            other = "x" if token[at] != "x" else "y"
            assert refused(tokens, token[:at] + other + token[at + 1 :]) is TokenWrong.FORGED

    def test_of_another_installation_opens_nothing(self, tokens: Tokens) -> None:
        assert refused(tokens, Tokens(b"o" * 32).issue("call_1", "CA1", NOW)) is TokenWrong.FORGED

    @pytest.mark.parametrize("token", ["x", "1.2.3", "1.call_1.99.00.zz", "1." + "a" * 600, "é", "1.call_1.1.0.0\n"])
    def test_that_is_none_opens_nothing(self, tokens: Tokens, token: str) -> None:
        assert refused(tokens, token) is TokenWrong.FORGED

    def test_that_is_missing_opens_nothing(self, tokens: Tokens) -> None:
        assert refused(tokens, "") is TokenWrong.MISSING

    def test_fits_into_a_stream_parameter(self, tokens: Tokens) -> None:
        assert len(tokens.issue("call_" + "0" * 32, "CA" + "0" * 32, NOW)) < 200
