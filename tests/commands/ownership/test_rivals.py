"""Whatever two or three owners do to each other, what was acknowledged is on the log once, and what was refused was refusable."""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from commands.ownership.groups import Answer, Declined, Group, Submission
from commands.ownership.owner import Owner
from commands.ownership.streams import Streams
from events.admission import Fence
from events.headers import Kind, RecordHeader
from events.recorded import Recorded
from events.records import RawRecord
from events.registry import Fact
from tests.commands.ownership.rivals import Play, violations
from tests.paper_log import PaperLog

STEPS = 120


# A seed tells the whole story again; there is nothing to shrink.
@settings(max_examples=150, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.integers(0, 1 << 32), st.integers(2, 3))
def test_nothing_is_lost_doubled_or_made_up(seed: int, rivals: int) -> None:
    play = Play(Random(seed), rivals)
    play.run(STEPS)
    assert violations(play) == [], "\n".join(play.history)


def everything(log: PaperLog) -> list[RawRecord]:
    """A reader without the fence."""
    return [raw for raw in log.records if raw.header is not None and raw.header.kind is not Kind.CLAIM]


class Forgetful(Owner):
    """An owner that remembers no command."""

    def group(self, waiting: deque[Submission], now_ms: int) -> Group:
        for submission in waiting:
            known = self.streams.get(submission.key)
            if known is not None:
                known.answered.clear()
        return super().group(waiting, now_ms)


class WithoutReceipts(Streams):
    """Streams that do not know the commands which changed nothing."""

    def fold(self, raw: RawRecord, header: RecordHeader, fence: Fence) -> Recorded[Fact] | None:
        return None if header.kind is Kind.RECEIPT else super().fold(raw, header, fence)


class Wasteful(Owner):
    """An owner that leaves no receipts that anyone reads."""

    def judge(self, records: Sequence[RawRecord], reached: int) -> list[Recorded[Fact]]:
        self.streams.__class__ = WithoutReceipts
        return super().judge(records, reached)


class Hasty(Owner):
    """An owner that answers refusals and conflicts before its batch is confirmed."""

    def group(self, waiting: deque[Submission], now_ms: int) -> Group:
        group = super().group(waiting, now_ms)
        hasty = [entry for entry in group.entries if isinstance(entry, Declined)]
        group.answers.extend(Answer(entry.submission, entry.reason) for entry in hasty)
        group.entries = [entry for entry in group.entries if not isinstance(entry, Declined)]
        return group


class Trusting(Owner):
    """An owner that takes every acknowledgement for a confirmation."""

    def confirm(self, base: int) -> tuple[list[Answer], list[Recorded[Fact]]]:
        if self._group is not None:
            self.fence = self._mine = self._group.fence
        return super().confirm(base)


class TestCheck:
    """A check that cannot fail proves nothing: without one detail it finds a violation within a few seeds."""

    @pytest.mark.parametrize(
        ("without", "run"),
        [
            ("fence", lambda seed: violations(played(seed), everything)),
            ("contiguity", lambda seed: violations(played(seed, Trusting, contiguity=False))),
            ("deduplication", lambda seed: violations(played(seed, Forgetful))),
            ("receipts", lambda seed: violations(played(seed, Wasteful))),
            ("barrier", lambda seed: violations(played(seed, Hasty))),
        ],
    )
    def test_bites_without(self, without: str, run: Callable[[int], list[str]]) -> None:
        assert any(run(seed) for seed in range(60)), f"no violation was found without {without}"

    def test_is_silent_with_all_of_them(self) -> None:
        assert [violations(played(seed)) for seed in range(60)] == [[]] * 60


def played(seed: int, owner: type[Owner] = Owner, *, contiguity: bool = True) -> Play:
    play = Play(Random(seed), 2, owner, contiguity=contiguity)
    play.run(STEPS)
    return play
