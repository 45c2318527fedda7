"""What the doctor says of a machine, from figures that no test machine has."""

from importlib.metadata import version
from pathlib import Path

from infra.local.checks import GIBIBYTE, disk, memory, packages, python_version


class TestDisk:
    def test_that_is_nearly_full_is_wrong(self) -> None:
        finding = disk(GIBIBYTE // 2, Path("state"))
        assert finding.state == "wrong"
        assert finding.words == "0.5 GB free for state"
        assert finding.remedy is not None

    def test_with_room_is_well(self) -> None:
        assert disk(10 * GIBIBYTE, Path("state")).state == "well"


class TestMemory:
    def test_that_is_short_is_doubtful(self) -> None:
        assert memory(GIBIBYTE // 2).state == "doubtful"
        assert memory(4 * GIBIBYTE).state == "well"


class TestPython:
    def test_that_is_old_is_wrong(self) -> None:
        assert python_version((3, 9)).state == "wrong"
        assert python_version((3, 11)).state == "well"


class TestPackages:
    def test_of_another_version_are_wrong(self, tmp_path: Path) -> None:
        lock = tmp_path / "requirements.lock"
        lock.write_text("pytest==0.0.1 \\\n    --hash=sha256:00\n")
        finding = packages(lock)
        assert finding.state == "wrong"
        assert finding.words == f"pytest is {version('pytest')}, not 0.0.1"

    def test_that_are_missing_are_wrong(self, tmp_path: Path) -> None:
        lock = tmp_path / "requirements.lock"
        lock.write_text("no-such-package==1.0 \\\n    --hash=sha256:00\n")
        assert packages(lock).words == "no-such-package is missing, not 1.0"

    def test_for_other_machines_or_other_pythons_are_not_missed(self, tmp_path: Path) -> None:
        lock = tmp_path / "requirements.lock"
        lock.write_text(
            "no-such-package==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
            f"pytest=={version('pytest')} ; python_version < '4' \\\n    --hash=sha256:00\n"
            "pytest==99 ; python_version >= '4' \\\n    --hash=sha256:00\n"
        )
        assert packages(lock).state == "well"
