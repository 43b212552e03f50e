"""Imports go downward, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from registry_core.cli.app import _FILES

ROOT = Path(__file__).parents[2]
# the picture and these tests share one order of rooms; `__main__` is above all of them
_spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)
imported = house.imported
ROOMS = ["__main__", *house.ROOMS]
CORE = ROOT / "registry_core"
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")
HEAVY = {
    "tensorflow": {"training"},
    "keras": {"training"},
    "matplotlib": {"evaluation"},
    "rich": {"terminal"},
    "typer": {"cli"},
    "pluggy": {"plugins"},
    "sqlite3": {"store/sqlite", "process/machine"},  # its version is shown
    "psycopg": {"store/postgres"},
    "pydantic": {"config"},
    "h5py": {"model_import"},
    "pytest": {"conformance/pytest_checks"},
    "starlette": {"web"},
    "uvicorn": {"web"},
}


def room(file: Path) -> str:
    """`store` for registry_core/store/objects.py, `types` for registry_core/types.py."""
    return file.relative_to(CORE).parts[0].removesuffix(".py")


FILES = sorted(CORE.rglob("*.py"))


def test_every_room_has_its_place():
    """A new folder or file at the top needs a place in ROOMS."""
    assert {room(file) for file in FILES} - {"__init__"} == set(ROOMS)


def test_imports_go_downward():
    """A room imports only rooms below it; the public API names every room."""
    wrong = []
    for file in FILES:
        here = room(file)
        names = {name.split(".")[1] for name in imported(file) if name.startswith("registry_core.")}
        if here != "__init__":
            above = ROOMS[: ROOMS.index(here)]
            wrong += [f"{file} imports {name}, above it" for name in above if name in names]
    assert wrong == []


def test_heavy_libraries_stay_in_their_rooms():
    """Each library is imported in one room, or in one folder or file of it."""
    wrong = []
    for file in FILES:
        place = file.relative_to(CORE).with_suffix("").as_posix()
        for name in imported(file):
            owners = HEAVY.get(name.partition(".")[0])
            if owners and not any(f"{place}/".startswith(f"{owner}/") for owner in owners):
                wrong.append(f"{place} imports {name}")
    assert wrong == []


def test_the_picture_of_the_house_is_drawn_from_the_imports():
    """`poe docs` draws it."""
    current = house.PICTURE.read_text("utf-8") == house.picture()
    assert current, "docs/house.svg is out of date: run `poe docs`"


def test_every_room_is_described_in_the_design():
    """The table of docs/design.md names each one."""
    rows = "".join(line for line in DESIGN.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(\w+)(?:/|\.py)?`", rows)) >= set(house.ROOMS)


CLI = [file for file in FILES if room(file) == "cli"]
COMMAND_FILES = set(_FILES.values())


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if room(file) in ("cli", "terminal", "web")],
    ids=lambda file: str(file.relative_to(CORE)),
)
def test_the_command_line_works_through_registry(file):
    """What is shown comes from the values that `Registry` returns: nothing reaches for a store."""
    reached = {n.attr for n in ast.walk(house.tree(file)) if isinstance(n, ast.Attribute)}
    assert "store" not in reached


@pytest.mark.parametrize("file", CLI, ids=lambda file: file.name)
def test_commands_import_neither_what_stores_nor_what_trains(file):
    """A type checker may see the values of these rooms; a command calls `Registry`."""
    rooms = {name.split(".")[1] for name in imported(file) if name.startswith("registry_core.")}
    assert not rooms & {"store", "lifecycle", "training", "running", "model_import"}


@pytest.mark.parametrize("file", CLI, ids=lambda file: file.name)
def test_commands_import_no_commands(file):
    """What several commands need is in a file without a command."""
    names = {name.removeprefix("registry_core.cli.") for name in imported(file)}
    if file.stem in COMMAND_FILES:
        assert not names & COMMAND_FILES
