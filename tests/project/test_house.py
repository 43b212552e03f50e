"""The house: imports go downward, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "registry_core"

# Each room may import from those after it, and from no other: there is no exception.
ROOMS = [
    "__main__",
    "cli",
    "terminal",
    "registry",
    "registry_reader",
    "running",
    "results",
    "model_import",
    "lifecycle",
    "exports",
    "training",
    "promotion",
    "evaluation",
    "store",
    "plugins",
    "data",
    "process",
    # the ground floor: values, names, errors
    "formatting",
    "settings",
    "rules",
    "refs",
    "types",
    "config",
    "records",
    "errors",
]
HEAVY = {
    "tensorflow": {"training"},
    "keras": {"training"},
    "matplotlib": {"evaluation"},
    "rich": {"terminal"},
    "typer": {"cli"},
    "pluggy": {"plugins"},
    "sqlite3": {"store", "process"},  # its version is shown
    "pydantic": {"config"},
    "h5py": {"model_import"},
}


def room(file: Path) -> str:
    """`store` for registry_core/store/objects.py, `types` for registry_core/types.py."""
    return file.relative_to(CORE).parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """Every module that a file imports when it runs; what only type checkers see is left out."""
    names: set[str] = set()

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if getattr(node.test, "id", "") != "TYPE_CHECKING":
                self.generic_visit(node)

        def visit_Import(self, node: ast.Import) -> None:
            names.update(alias.name for alias in node.names)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)

    Visitor().visit(ast.parse(file.read_text()))
    return names


FILES = sorted(CORE.rglob("*.py"))


def test_every_room_has_its_place():
    """A new file has to say where it lives."""
    assert {room(file) for file in FILES} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CORE)))
def test_imports_go_downward(file):
    """A room knows those below it, and none above."""
    here = room(file)
    if here == "__init__":
        return  # the public API names every room
    names = [name.split(".")[1] for name in imported(file) if name.startswith("registry_core.")]
    for name in {name for name in names if name in ROOMS} - {here}:
        assert ROOMS.index(here) < ROOMS.index(name), f"{here} imports {name}, which is above it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CORE)))
def test_heavy_libraries_stay_in_their_rooms(file):
    """Each library has one room of the host that knows it."""
    for name in imported(file):
        owners = HEAVY.get(name.partition(".")[0])
        assert owners is None or room(file) in owners, f"{file.name} imports {name}"


def test_importing_the_package_imports_nothing_heavy():
    """`from registry_core import hookimpl` costs a plugin's module next to nothing."""
    code = (
        "import sys; from registry_core import hookimpl; "
        "print([m for m in ('numpy', 'tensorflow', 'pydantic', 'rich', 'typer', 'sqlite3') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_a_plugin_author_imports_is_there():
    """Every public name loads, and an unknown one is told as such."""
    import registry_core

    for name in registry_core.__all__:
        assert getattr(registry_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = registry_core.nothing
