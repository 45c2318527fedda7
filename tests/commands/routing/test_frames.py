"""What owners say to each other survives its way, and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.ports import Claim, Place
from commands.routing.frames import (
    Alive,
    Answer,
    AskStanding,
    BrokenFrame,
    Carry,
    Done,
    Look,
    Moved,
    NotUnderstood,
    Prepare,
    Raised,
    Request,
    Standing,
    Taken,
    TakeOver,
    decode_answer,
    decode_committed,
    decode_request,
    encode_answer,
    encode_committed,
    encode_request,
)
from events.admission import Fence
from events.codec import UnknownSchema
from tests.commands.ownership.desk import CODEC, PLACE, Desk, stream
from tests.paper_log import PaperLog

CLAIM = Claim(7, b"c" * 16, "127.0.0.1:7100/0a0b0c0d", 12)
PLACES = Place("aybiza.flags.v1", 3)
REQUESTS: list[Request] = [
    Carry("here", 4_000, 7, None, b"AYB-1/flags/one", b"order", b"command"),
    Carry("here", 4_000, 7, 0, b"AYB-1/flags/one", b"", b""),
    Look("here"),
    TakeOver("here", PLACES, 7),
    AskStanding("here", PLACES),
    Prepare("here", PLACES),
]
ANSWERS: list[Answer] = [
    Done(b"commit"), Raised(b"error"), Moved(CLAIM), Alive("here"), Taken(CLAIM), Standing(12, Fence(7, b"c" * 16)), NotUnderstood("why"),
]  # fmt: skip


class TestRequest:
    @pytest.mark.parametrize("request_", REQUESTS)
    def test_comes_out_as_it_went_in(self, request_: Request) -> None:
        assert decode_request(encode_request(request_)) == request_

    @pytest.mark.parametrize("request_", [TakeOver("here", PLACES, 7), AskStanding("here", PLACES), REQUESTS[0]])
    def test_that_is_cut_short_is_none(self, request_: Request) -> None:
        whole = encode_request(request_)
        for length in range(len(whole) - len(b"command")):
            with pytest.raises(BrokenFrame):
                decode_request(whole[:length])

    def test_of_another_layout_says_what_to_do(self) -> None:
        with pytest.raises(BrokenFrame, match="run one version of the program everywhere"):
            decode_request(b"\x02" + encode_request(Look("here"))[1:])

    @given(st.binary(max_size=80))
    def test_is_nothing_that_was_made_up_or_it_is_whole(self, data: bytes) -> None:
        try:
            request = decode_request(data)
        except BrokenFrame:
            return
        assert decode_request(encode_request(request)) == request


class TestAnswer:
    @pytest.mark.parametrize("answer", ANSWERS)
    def test_comes_out_as_it_went_in(self, answer: Answer) -> None:
        assert decode_answer(encode_answer(answer)) == answer

    @pytest.mark.parametrize("answer", [Moved(CLAIM), Standing(12, Fence(7, b"c" * 16)), Alive("here")])
    def test_that_is_cut_short_is_none(self, answer: Answer) -> None:
        whole = encode_answer(answer)
        for length in range(len(whole)):
            with pytest.raises(BrokenFrame):
                decode_answer(whole[:length])


class TestCommit:
    def test_comes_out_with_its_facts(self) -> None:
        desk = Desk(PaperLog(PLACE))
        desk.claim()
        desk.ask("first")
        desk.work()
        committed = desk.committed("first")
        assert committed.facts
        data = encode_committed(committed, CODEC)
        assert decode_committed(data, stream().key, CODEC) == committed
        for length in range(len(data)):
            with pytest.raises((BrokenFrame, ValueError, UnknownSchema)):
                decode_committed(data[:length], stream().key, CODEC)
