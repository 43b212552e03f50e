"""The house: imports go downward, and heavy libraries stay in their rooms."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parent.parent / "registry_core"

# a room may import from the floors below its own, and from its own floor where it is named here
FLOORS = [
    {"errors", "types", "records", "streams", "text"},
    {
        "refs",
        "rules",
        "config",
        "settings",
        "hookspecs",
        "signals",
        "statistics",
        "samples",
        "data",
        "model_file",
        "checkpoint",
        "drift",
        "provenance",
        "backend",
        "code_record",
        "blame",
        "plugin_guard",
        "requirements",
        "machine",
    },
    {
        "store",
        "plugins",
        "plugin_sources",
        "plans",
        "plugin_description",
        "gates",
        "groups",
        "comparison",
        "custom_code",
    },
    {
        "lifecycle",
        "seeds",
        "run_log",
        "adoption",
        "model_import",
        "reevaluation",
        "reproduction",
        "training",
        "plotting",
    }
    | {"registry", "exports", "ui"},
    {"cli"},
    {"__main__"},
]
SAME_FLOOR = {
    ("custom_code", "plugin_sources"),  # what a module was installed with
    ("plugins", "plugin_sources"),  # the set of a run is made of what is named
    ("gates", "plugins"),  # a gate asks the plugins
    ("comparison", "groups"),  # versions that belong to groups compare as groups too
    ("registry", "training"),  # late: a model is wanted
    ("registry", "exports"),
    ("exports", "training"),  # late: a model is converted
    ("hookspecs", "config"),
    ("rules", "refs"),  # what can name an alias
    ("settings", "rules"),  # plugins.toml has rules too
    ("signals", "plugin_guard"),  # it tells who replaced a handler
    ("plans", "plugins"),  # presets are theirs
    ("plugin_description", "plans"),
    ("plugin_description", "plugins"),
    ("custom_code", "plugins"),  # which may bring a model's layers
    ("code_record", "blame"),  # where a plugin's files are
    ("provenance", "machine"),  # the processor
    ("adoption", "model_import"),
    ("model_import", "training"),  # late, and in a process of its own
    ("adoption", "lifecycle"),  # both load data and keep a record alike
    ("reevaluation", "lifecycle"),  # the same, but for the record
    ("reproduction", "lifecycle"),
    ("lifecycle", "run_log"),
    ("registry", "run_log"),
    ("ui", "run_log"),  # lines on stderr are those of the log
}
HEAVY = {
    "tensorflow": {"training"},
    "keras": {"training"},
    "matplotlib": {"plotting"},
    "rich": {"ui"},
    "typer": {"cli"},
    "pluggy": {"hookspecs", "plugins"},
    "sqlite3": {"store", "machine"},  # its version is told
    "pydantic": {"config"},
    "h5py": {"model_file", "model_import"},
}


def room(file: Path) -> str:
    """`store` for registry_core/store/blobs.py, `types` for registry_core/types.py."""
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


def floor_of(name: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), None)


def test_every_room_is_on_a_floor():
    """A new file has to say where it lives."""
    homeless = {room(file) for file in FILES} - set().union(*FLOORS) - {"__init__"}
    assert not homeless


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CORE)))
def test_imports_go_downward(file):
    """A room knows those below it, and none above."""
    here = room(file)
    if here == "__init__":
        return
    ours = {n.split(".")[1] for n in imported(file) if n.startswith("registry_core.")}
    for name in ours - {here}:
        floor = floor_of(name)
        if floor is None:
            continue  # a name of the package itself, such as its version
        allowed = floor < floor_of(here) or (here, name) in SAME_FLOOR
        assert allowed, f"{here} imports {name}"


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
