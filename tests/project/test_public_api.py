"""`mlreg` is the name that users import: complete, cheap, and enough for every plugin."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mlreg
import registry_core
from registry_core import errors
from registry_core.plugins import hookspecs

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "tensorflow", "keras", "pydantic", "matplotlib", "rich", "typer", "sqlite3")


def imported_modules(code: str) -> set[str]:
    """Every module that Python code imports, also inside functions and for type checkers alone."""
    modules = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return modules


def plugin_code() -> dict[str, str]:
    """Where plugin code stands -> the code: the CIFAR plugin, the examples, the documentation."""
    files = [*(ROOT / "cifar_plugin").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    code = {str(file.relative_to(ROOT)): file.read_text() for file in files}
    for name, spec in vars(hookspecs).items():
        if name.startswith("mlreg_"):
            code[name] = inspect.cleandoc(spec.__doc__).partition("Example:\n")[2].strip("\n")
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S)):
            code[f"{page.relative_to(ROOT)}, block {number + 1}"] = block
    return {place: inspect.cleandoc(text) for place, text in code.items()}


CODE = plugin_code()


def test_plugins_import_from_mlreg_alone():
    """A plugin imports `mlreg`, never a module of the host that may move."""
    for place, code in CODE.items():
        names = imported_modules(code)
        inner = {name for name in names if name.partition(".")[0] == "registry_core"}
        inner |= {name for name in names - {"mlreg.testing"} if name.startswith("mlreg.")}
        assert not inner, place


def test_the_public_names_load_from_both_packages():
    """`mlreg.X` is `registry_core.X`, and an unknown name is an AttributeError in both."""
    assert mlreg.__all__ == registry_core.__all__ == dir(mlreg) == dir(registry_core)
    for name in mlreg.__all__:
        assert getattr(mlreg, name) is getattr(registry_core, name)
    for package in (mlreg, registry_core):
        with pytest.raises(AttributeError, match="no attribute 'hookimp'"):
            _ = package.hookimp


def test_type_checkers_see_every_public_name():
    """The imports for type checkers and the table for the interpreter name the same things."""
    tree = ast.parse(inspect.getsource(registry_core))
    typed = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("registry_core.")
        for alias in node.names
    }
    assert typed == {*mlreg.__all__} - {"__version__"}


def test_every_error_that_ends_a_command_is_public():
    """A program can catch by name whatever the public API raises."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert {name for name in kinds if name in mlreg.__all__} == {
        name for name in kinds if issubclass(getattr(errors, name), BaseException)
    }


@pytest.mark.parametrize("package", ["mlreg", "registry_core"])
def test_importing_the_package_imports_nothing_heavy(package):
    """`from mlreg import hookimpl` costs a plugin's module next to nothing."""
    code = (
        f"import sys; from {package} import ArraySplit, hookimpl; "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("package", ["mlreg", "registry_core"])
def test_python_m_is_the_command(package):
    """`python -m mlreg` is `mlreg`, and so is the host's own package."""
    command = [sys.executable, "-m", package, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == mlreg.__version__
