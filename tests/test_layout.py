"""The house stands as it is drawn: floors, rooms, sizes, and what each floor may take from others."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
CODE_FLOORS = ("api", "commands", "events", "infra", "projections", "realtime", "stream_processors")
FLOORS = (*CODE_FLOORS, "schemas")
# Everything that may stand at the top. A new kind of code is a decision, not an accident.
TOP_LEVEL = {*FLOORS, "edge", "tests", "Makefile", "README.md", "pyproject.toml", "requirements.lock", "uv.lock"}
LONGEST_MODULE_LINES = 330
LONGEST_README_LINES = 60

# What a floor may take from other people's packages, beside the standard library; infra and tests may take everything.
ALLOWED = {
    "events": {"cryptography", "fastavro"},
    "commands": {"structlog"},
    "projections": {"structlog"},
    "stream_processors": {"structlog"},
    "realtime": {"msgspec", "numpy", "structlog"},
    "api": {"fastapi", "graphql", "phonenumbers", "pydantic", "starlette", "strawberry", "structlog"},
}
# Single modules that may take more than their floor: the webhook, what hands out its router, and windowed analytics.
ALLOWED_TO_ONE = {
    "realtime/carrier/webhook.py": {"fastapi"},
    "realtime/worker.py": {"fastapi"},
    "stream_processors/analytics.py": {"faust"},
}


def room_contract() -> tuple[list[str], set[str], set[str]]:
    """The floors that have rooms, the rooms, and the mechanism, as import-linter's table in pyproject.toml says."""
    contracts = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rooms,) = [contract for contract in contracts if contract["name"] == "Rooms"]
    names = {room.strip(" ()") for room in rooms["layers"][0].split("|")}
    return rooms["containers"], names, set(rooms["exhaustive_ignores"])


def code_files() -> Iterator[Path]:
    for floor in CODE_FLOORS:
        yield from sorted((HOME / floor).rglob("*.py"))


def standing_on(floor: str) -> set[str]:
    """The modules and packages that stand directly on a floor."""
    entries = (HOME / floor).iterdir()
    return {entry.stem for entry in entries if (entry.suffix == ".py" or (entry / "__init__.py").is_file()) and entry.stem != "__init__"}


class TestFloors:
    def test_are_the_only_things_at_the_top(self) -> None:
        found = {entry.name for entry in HOME.iterdir() if not entry.name.startswith(".")}
        assert found <= TOP_LEVEL, "put it on a floor, or add it to TOP_LEVEL in tests/test_layout.py with a reason"

    @pytest.mark.parametrize("floor", FLOORS)
    def test_each_explain_themselves_on_one_page(self, floor: str) -> None:
        page = HOME / floor / "README.md"
        assert page.is_file(), f"{floor}/README.md is missing: what lives here, what it may import, how to add a room, decisions"
        assert len(page.read_text().splitlines()) <= LONGEST_README_LINES

    @pytest.mark.parametrize("floor", ALLOWED)
    def test_take_from_others_only_what_is_allowed(self, floor: str) -> None:
        own = {*CODE_FLOORS, *sys.stdlib_module_names}
        for path in sorted((HOME / floor).rglob("*.py")):
            where = path.relative_to(HOME).as_posix()
            taken = imported(path) - own - ALLOWED[floor] - ALLOWED_TO_ONE.get(where, set())
            assert not taken, f"{where} imports {sorted(taken)}: put it behind a port with an adapter in infra, or extend ALLOWED"


class TestRooms:
    def test_exist_in_events(self) -> None:
        _, rooms, _ = room_contract()
        missing = rooms - standing_on("events")
        assert not missing, f"{sorted(missing)}: a room begins with its facts, in events/<room>.py"

    def test_or_mechanism_is_every_module(self) -> None:
        floors, rooms, mechanism = room_contract()
        for floor in floors:
            strangers = standing_on(floor) - rooms - mechanism
            assert not strangers, f"{floor}: {sorted(strangers)}: name it by a room, or list it in exhaustive_ignores in pyproject.toml"

    def test_and_mechanism_are_not_listed_in_vain(self) -> None:
        floors, _, mechanism = room_contract()
        gone = mechanism - set().union(*(standing_on(floor) for floor in floors))
        assert not gone, f"{sorted(gone)}: no such module on any floor; take it out of exhaustive_ignores in pyproject.toml"


class TestModules:
    def test_fit_in_a_room(self) -> None:
        sizes = {path.relative_to(HOME).as_posix(): len(path.read_text().splitlines()) for path in code_files()}
        large = {where: lines for where, lines in sizes.items() if lines > LONGEST_MODULE_LINES}
        assert not large, "split by sub-domain, under the same names on every floor"

    def test_begin_with_a_promise(self) -> None:
        silent = [path.relative_to(HOME).as_posix() for path in code_files() if path.name != "__init__.py" and not docstring(path)]
        assert not silent, "a module's docstring is one sentence: the promise of the file"

    def test_named_init_are_empty(self) -> None:
        inits = [*code_files(), *sorted((HOME / "tests").rglob("*.py"))]
        full = [path.relative_to(HOME).as_posix() for path in inits if path.name == "__init__.py" and path.stat().st_size]
        assert not full, "one import path per name: an __init__.py is empty"

    def test_have_names_that_say_something(self) -> None:
        empty_names = {"base", "common", "helpers", "misc", "types", "util", "utils"}
        found = [path.relative_to(HOME).as_posix() for path in code_files() if path.stem in empty_names]
        assert not found


def imported(path: Path) -> set[str]:
    """The top-level names of everything a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text()))
