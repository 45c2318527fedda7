"""A test that failed while it waited for real processes gets one more run, alone; what is only computed, and what fails twice, fails."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
# Fails the first time that it is asked, and never again.
FLAKY = """
@pytest.mark.real_time
def test_flaky(tmp_path_factory):
    asked = pathlib.Path("{name}")
    if not asked.exists():
        asked.touch()
        raise OSError("not this time")
"""
BROKEN = """
@pytest.mark.real_time
def test_broken():
    raise OSError("never")
"""
COMPUTED = FLAKY.replace("@pytest.mark.real_time\n", "")
FIXTURE = """
@pytest.fixture(scope="module")
def product():
    asked = pathlib.Path("product")
    if not asked.exists():
        asked.touch()
        raise OSError("not this time")

@pytest.mark.real_time
@pytest.mark.parametrize("promise", range(9))
def test_promise(product, promise):
    pass
"""


def run(folder: Path, *modules: str, beside: Sequence[str] = ()) -> tuple[int, str]:
    """The code and the words of a run of these modules, `beside` each other in processes of their own where it says so."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = real_time\naddopts = --strict-markers -p no:cacheprovider\n")
    for number, module in enumerate(modules):
        (folder / f"test_{number}.py").write_text(f"import pathlib\nimport pytest\n{module.format(name=f'asked{number}')}")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.again", "--quiet", *beside],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(HOME), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


class TestAnotherRun:
    def test_is_passed_and_told(self, tmp_path: Path) -> None:
        code, words = run(tmp_path, FLAKY, FLAKY, FIXTURE, beside=("-p", "xdist", "-n", "2", "--dist", "loadfile"))
        assert code == 0, words
        assert "11 of them failed beside others and passed alone:\n  test_0.py::test_flaky\n  test_1.py::test_flaky\n" in words

    def test_is_failed_by_what_is_broken(self, tmp_path: Path) -> None:
        code, words = run(tmp_path, FLAKY, BROKEN)
        assert code == 1
        assert "2 failed beside others, and not all of them passed alone:\n  test_0.py::test_flaky\n  test_1.py::test_broken\n" in words

    @pytest.mark.parametrize("modules", [[COMPUTED], [FLAKY, COMPUTED], [FLAKY] * 4], ids=["computed", "computed-too", "many"])
    def test_is_not_for(self, modules: list[str], tmp_path: Path) -> None:
        code, words = run(tmp_path, *modules)
        assert code == 1
        assert "again" not in words

    def test_is_not_needed(self, tmp_path: Path) -> None:
        code, words = run(tmp_path, "def test_fine():\n    pass\n")
        assert code == 0, words
        assert "again" not in words
