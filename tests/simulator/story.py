"""What happened in one run, for whoever must understand it: a line each, and which fault met the product at which await."""

from collections import Counter
from typing import Any

from tests.simulator.loop import Scheduler


class Story:
    """`lines` are kept as they came and worded only when somebody reads them."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.covered: Counter[tuple[str, str]] = Counter()
        self._lines: list[tuple[float, str, tuple[Any, ...]]] = []
        self._scheduler = scheduler

    def tell(self, who: str, *words: Any) -> None:
        self._lines.append((self._scheduler.now, who, words))

    def met(self, fault: str, site: str) -> None:
        self.covered[fault, site] += 1

    def lines(self) -> list[str]:
        return [f"{at:9.4f}s {who:<10} {' '.join(map(str, words))}" for at, who, words in self._lines]

    def about(self, wanted: str, around: int = 0) -> list[str]:
        """The lines with this word, and what else was told close to them."""
        lines = self.lines()
        kept = {near for at, line in enumerate(lines) if wanted in line for near in range(at - around, at + around + 1)}
        return [line for at, line in enumerate(lines) if at in kept]
