"""Runs the tests; the few that fail while they wait for real processes get one more run, alone and set up anew, and it is said aloud.

python -m tests.again [what pytest takes]. A machine that stands still for seconds, or is shared with others, can make a test fail that
talks to processes in real time. A test that is only computed cannot fail by that: it fails at once, and so do more than a few together.
"""

import subprocess
import sys
from collections.abc import Sequence

import pytest

# The marker of tests that may be run again; tests/conftest.py says which they are.
REAL_TIME = "real_time"
MOST_CAUSES = 3


class Failures:
    """A plugin of pytest that keeps what failed, and of how many causes."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._causes: set[str] = set()
        self._for_good = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed:
            return
        if report.nodeid not in self._names:
            self._names.append(report.nodeid)
        # What a module sets up once fails all of its tests by one cause.
        self._causes.add(report.nodeid.partition("::")[0] if report.when == "setup" else report.nodeid)
        self._for_good |= REAL_TIME not in report.keywords

    def names(self) -> list[str]:
        """By their files, so that what a file sets up once is set up once more."""
        return sorted(self._names, key=lambda name: name.partition("::")[0])

    def are_worth_another_run(self) -> bool:
        return 0 < len(self._causes) <= MOST_CAUSES and not self._for_good


def main(arguments: Sequence[str]) -> int:
    failures = Failures()
    code = pytest.main([*arguments], plugins=[failures])
    if code != pytest.ExitCode.TESTS_FAILED or not failures.are_worth_another_run():
        return code
    names = failures.names()
    listed = "".join(f"\n  {name}" for name in names)
    say(f"\nRunning again, alone, what failed beside others:{listed}\n")
    again = subprocess.run([sys.executable, "-m", "pytest", "--quiet", *names], check=False).returncode
    count = len(names)
    if again == pytest.ExitCode.OK:
        say(f"\nEvery test passed, but {count} of them failed beside others and passed alone:{listed}")
    else:
        say(f"\n{count} failed beside others, and not all of them passed alone:{listed}")
    return again


def say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
