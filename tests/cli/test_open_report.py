"""`show --open` and `run --open`: the version's report in a browser, or where to find it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import faked
from fakes import write_project
from lifecycle_helpers import Project

from registry_core.cli import opening, run_command


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """The words before a command, in a project with one version."""
    project = Project(tmp_path)
    project.run()
    monkeypatch.setattr(opening.tempfile, "tempdir", str(tmp_path))
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    return ["--registry", str(project.store.folder)]


@pytest.mark.gate
def test_a_report_is_opened_beside_what_is_shown(registry, monkeypatch, capsys):
    """In a folder that is the user's alone; what show prints is the same."""
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(opening.typer, "launch", opened.append)
    assert run_command([*registry, "show", "flowers@1", "--json"]) == 0
    without = capsys.readouterr().out
    assert run_command([*registry, "show", "flowers@1", "--json", "--open"]) == 0
    assert capsys.readouterr().out == without
    (path,) = map(Path, opened)
    assert path.name == "flowers-1.html"
    assert path.parent.stat().st_mode & 0o077 == 0
    assert "<!doctype html>" in path.read_text()


@pytest.mark.gate
def test_without_a_display_the_file_is_named(registry, capsys):
    assert run_command([*registry, "show", "flowers@1", "-q", "--open"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "flowers@1\n"
    assert "no display" in printed.err
    (path,) = [word for word in printed.err.split() if word.endswith("flowers-1.html")]
    assert Path(path).is_file()


@pytest.mark.gate
@pytest.mark.processes
def test_a_run_opens_the_report_of_its_version(tmp_path):
    write_project(tmp_path)
    around = {"cwd": tmp_path, "MLREG_HOME": str(tmp_path / "registry"), "TMPDIR": str(tmp_path)}
    done = faked("run", "flowers", "-q", "--open", **around)
    assert (done.status, done.stdout) == (0, "flowers@1\n"), done.stderr
    assert list(tmp_path.glob("flowers-1-*/flowers-1.html"))
    assert faked("run", "flowers", "--seeds", "2", "--open", **around).status == 2
