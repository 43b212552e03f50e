"""Where mlreg itself is at fault: what to repeat, and where to report it."""

from __future__ import annotations

import shlex

import pytest
from cli_helpers import python
from fakes import write_plugin, write_settings

from registry_core.cli.bug import bug

WORDS = ["show", "flowers@1", "--json", "it's a name"]

_BUG = (
    "import sys\nfrom registry_core.cli import main\nfrom registry_core.store import Store\n"
    "def models(*_):\n    raise {error}\n"
    "Store.models = models\nmain(sys.argv[1:])\n"
)


def metadata(folder, *lines):
    """A variable by which Python finds other metadata of mlreg first."""
    place = folder / "metadata" / "mlreg-9.9.dist-info"
    place.mkdir(parents=True)
    text = "\n".join(["Metadata-Version: 2.4", "Name: mlreg", "Version: 9.9", *lines, ""])
    (place / "METADATA").write_text(text)
    return {"PYTHONPATH": str(place.parent)}


def test_the_command_that_was_typed_is_given_back_whole():
    """Quoted for a shell, with --traceback where it is understood; no placeholder."""
    error = bug(KeyError("a"), WORDS)
    assert error.what == "A bug in mlreg: KeyError: 'a'"
    assert shlex.split(error.command) == ["mlreg", "--traceback", *WORDS]
    assert error.exit_status == 1


def test_a_traceback_that_is_shown_is_not_asked_for_again():
    """The next command is the one whose output the report wants."""
    error = bug(KeyError("a"), ["--traceback", *WORDS])
    assert "with the output above" in error.remedy
    assert error.command == "mlreg env"


@pytest.mark.gate(keep=1)
@pytest.mark.processes
@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["Project-URL: Issues, https://example.org/issues"], "at https://example.org/issues,"),
        (["Project-URL: Bug Tracker, https://example.org/b"], "at https://example.org/b,"),
        (["Project-URL: Homepage, https://example.org"], "to the maintainers of mlreg,"),
        ([], "to the maintainers of mlreg,"),
    ],
)
def test_the_address_is_that_of_the_installed_package(tmp_path, lines, where):
    """Who publishes mlreg writes it into the metadata; without one there are words."""
    code = _BUG.format(error="KeyError('a')")
    done = python("-c", code, "list", **metadata(tmp_path, *lines))
    assert done.status == 1
    assert done.stderr.splitlines() == [
        "Error: A bug in mlreg: KeyError: 'a'",
        f"Please report it {where} with what this prints and the output of `mlreg env`.",
        "Try: mlreg --traceback list",
    ]
    again = python("-c", code, "--traceback", "list")
    assert "in models\n" in again.stderr


@pytest.mark.gate(keep=2)
@pytest.mark.processes
@pytest.mark.parametrize(
    "error",
    [
        "PermissionError(13, 'Permission denied', '/a/place')",
        "OSError(24, 'Too many open files', '/a/place')",
        "OSError(30, 'Read-only file system', '/a/place')",
        "OSError(5, 'Input/output error', '/a/place')",
    ],
)
def test_what_the_system_refuses_is_no_bug(tmp_path, error):
    """Status 8 and the place, wherever it came from."""
    done = python("-c", _BUG.format(error=error), "list", cwd=tmp_path)
    assert done.status == 8
    assert "Error: /a/place cannot be used: " in done.stderr


@pytest.mark.processes
def test_a_plugins_error_ends_with_the_command_that_shows_its_line(tmp_path):
    """The real one, not a pattern of it."""
    write_plugin(tmp_path, "flowers_plugin", "1 / 0")
    write_settings(tmp_path, {"flowers": "flowers_plugin"})
    code = "from registry_core.cli import main\nmain(['run', 'flowers', '--name', 'a b'])"
    done = python("-c", code, cwd=tmp_path)
    assert done.status == 3
    assert done.stderr.endswith("Try: mlreg --traceback run flowers --name 'a b'\n")
