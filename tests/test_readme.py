"""The README's page for a new domain is true: followed in a scratch copy, the checks of the house pass."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
_TYPES = ".mypy_cache"
_FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(heading: str) -> Iterator[tuple[str, str, str]]:
    """Language, file and text of each fenced block under a heading."""
    page = (HOME / "README.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for found in _FENCE.finditer(page):
        yield found[1], found[2], found[3]


def edit(root: Path, diff: str) -> None:
    """Do what a reader does: find the lines that go, put those that come in their place."""
    target = Path()
    gone: list[str] = []
    come: list[str] = []

    def replace() -> None:
        if gone:
            text, old, new = target.read_text(), "\n".join(gone), "\n".join(come)
            assert text.count(old) == 1, f"{target.relative_to(root)} has {text.count(old)} places that read: {old}"
            target.write_text(text.replace(old, new))
        gone.clear()
        come.clear()

    for line in diff.splitlines():
        if line.startswith("--- "):
            replace()
            target = root / line[4:]
        elif line.startswith("-"):
            if come:
                replace()
            gone.append(line[1:])
        else:
            come.append(line[1:])
    replace()


def run(root: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def copy_of_the_house(root: Path) -> Path:
    """Every file of the project as it stands here, committed or not, and nothing that is ignored but what mypy remembers."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - found on the path as everywhere
        cwd=HOME,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        source = HOME / name
        if source.is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(source.read_bytes())
    if (HOME / _TYPES).is_dir():
        # It looks at the content: what is the same it need not read again.
        shutil.copytree(HOME / _TYPES, root / _TYPES)
    return root


class TestAddADomain:
    def test_passes_every_check_when_the_page_is_followed(self, tmp_path: Path) -> None:
        root = copy_of_the_house(tmp_path / "house")
        commands: list[str] = []
        for language, file, text in blocks("Add a domain"):
            if language == "diff":
                edit(root, text)
            elif language == "sh":
                commands = text.split("\n")
            else:
                assert file, "a block of the page has no file"
                assert not (root / file).exists(), f"{file} is there already"
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(text)
        assert commands[:2] == [".venv/bin/aybiza schemas write", "make check"]
        # The copy's own modules, run by this environment: the same steps as the page's two commands.
        python = [sys.executable, "-P", "-c"]
        aybiza = "import sys; sys.path.insert(0, '.'); from infra.apps.cli import main; sys.argv = ['aybiza', 'schemas', '{}']; main()"
        run(root, *python, aybiza.format("write"))
        run(root, sys.executable, "-m", "ruff", "format", "--check", ".")
        run(root, sys.executable, "-m", "ruff", "check", ".")
        run(root, sys.executable, "-m", "mypy")
        run(root, str(Path(sys.executable).with_name("lint-imports")), "--no-logo")
        run(root, *python, aybiza.format("check"))
        run(
            root, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/commands/test_callbacks.py", "tests/test_layout.py"
        )
