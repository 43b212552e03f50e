"""`mlreg plugins new` and `mlreg init`: what they write, what they refuse, what they leave."""

from __future__ import annotations

import ast
import errno
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cli_helpers import assert_error, forked_mlreg, without_roots_rights
from fakes import write_project

from registry_core.cli.app import session
from registry_core.cli.completion import answer
from registry_core.errors import DataError, StorageError, UsageError
from registry_core.plugins.manager import KnownPlugins
from registry_core.plugins.scaffold.names import UnusableNameError, check_name
from registry_core.plugins.scaffold.projects import KINDS, new_project, new_settings, project_files
from registry_core.plugins.scaffold.writing import write_new_files
from registry_core.settings import Settings, find_settings, read_settings

pytestmark = pytest.mark.drawn

HEAVY = {"tensorflow", "keras", "numpy", "matplotlib", "PIL"}
LONG = f"a{'_b' * 31}c"


def tree(folder: Path) -> dict[str, str]:
    """Path -> content of every file, hidden ones too."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text("utf-8") for file in files}


def ruff() -> str:
    """The program, which is installed beside its package and may not be on the PATH."""
    package = Path(importlib.util.find_spec("ruff").origin)
    places = [Path(sys.executable).parent, package.parents[4] / "bin"]
    found = shutil.which("ruff", path=os.pathsep.join(map(str, places)))
    return found or "ruff"


def nothing_known() -> KnownPlugins:
    return KnownPlugins(Settings())


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_project_is_complete(kind):
    """Python compiles, TOML parses, and no placeholder is left."""
    files = project_files("leaves", kind)
    for path, text in files.items():
        assert text.endswith("\n") and not text.endswith("\n\n"), path
        assert not re.search(r"\$(?! )|\bpackage/", text), path
        if path.endswith(".py"):
            compile(text, path, "exec")
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["entry-points"]["mlreg.plugins"] == {"leaves": "leaves.plugin"}
    assert any(each.startswith("mlreg>=") for each in project["dependencies"])
    named = set(re.findall(r"`(src/[\w/.]+)`", files["README.md"]))
    assert named and named <= set(files)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plugin_and_its_settings_import_nothing_heavy(kind):
    """NumPy and Keras are imported by what the hooks call."""
    files = project_files("leaves", kind)
    for path in ("src/leaves/plugin.py", "src/leaves/config.py"):
        for node in ast.parse(files[path]).body:
            names = [alias.name for alias in getattr(node, "names", [])]
            names.append(getattr(node, "module", None) or "")
            assert not HEAVY & {name.partition(".")[0] for name in names}, path


@pytest.mark.processes
@pytest.mark.parametrize("name", ["x", LONG])
def test_a_project_is_clean_for_ruff(tmp_path, name):
    """Lint and format, whatever the length of the name."""
    for kind in KINDS:
        new_project(name, kind, tmp_path / kind, nothing_known())
    for words in (["check", "--no-cache"], ["format", "--diff", "--no-cache"]):
        done = subprocess.run([ruff(), *words, "."], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_a_project_has_a_meaning_and_bounds(tmp_path, monkeypatch, kind):
    """Numbers have bounds, presets a claim."""
    from registry_core.plugins.description import describe_plugin

    made = new_project("leaves", kind, tmp_path / "leaves", nothing_known())
    monkeypatch.syspath_prepend(made.folder / "src")
    settings = Settings(plugins={"leaves": "leaves.plugin"})
    found = describe_plugin(KnownPlugins(settings).load_alone("leaves"))
    assert list(found.presets) == ["baseline", "quick"] and all(found.presets.values())
    own = [each for each in found.settings if each.name not in ("seed", "deterministic")]
    assert len(own) > 3
    for each in own:
        assert each.about, each.name
        assert each.bounds or each.type not in ("int", "float"), each.name


@pytest.mark.parametrize("kind", ["table", "text"])
def test_the_tests_of_a_project_read_files_as_predict_does(tmp_path, monkeypatch, kind):
    """Those of the other kinds need TensorFlow, and run with the project."""
    name = f"read_{kind}"
    made = new_project(name, kind, tmp_path / name, nothing_known())
    monkeypatch.syspath_prepend(made.folder / "src")
    tests = runpy.run_path(str(made.folder / "tests" / "test_files.py"))
    (test,) = (value for key, value in tests.items() if key.startswith("test_"))
    test(tmp_path)
    plugin = importlib.import_module(f"{name}.plugin")
    assert plugin.mlreg_input_suffixes()[0] in (".csv", ".txt")
    (tmp_path / "bad").write_text("x\n")
    if kind == "table":
        with pytest.raises(DataError, match="no column area, rooms, city"):
            plugin.mlreg_inputs([tmp_path / "bad"], None)


@pytest.mark.parametrize(
    ("name", "why", "meant"),
    [
        ("class", "a keyword of Python", "class_data"),
        ("my-data", "a letter from a to z", "my_data"),
        ("Leaves", "a letter from a to z", "leaves"),
        ("2nd", "a letter from a to z", "my_2nd"),
        ("", "a letter from a to z", "my_data"),
        ("../etc", "a letter from a to z", "etc"),
        ("Blätter", "a letter from a to z", "blatter"),
        ("a" * 65, "longer than 64", "a" * 54),
        ("random", "standard library", "random_data"),
        ("mlreg", "a package of mlreg", "mlreg_data"),
        ("keras", "the module of Keras", "keras_data"),
        ("pluggy", "Python has a module of that name", "pluggy_data"),
        ("tests", "pytest or setuptools", "tests_data"),
        ("flowers", "a plugin of that name", "flowers_data"),
        ("counting", "a plugin of that name", "counting_data"),
    ],
)
def test_a_name_that_would_break_is_refused_with_one_that_works(tmp_path, name, why, meant):
    """Before anything is written."""
    known = KnownPlugins(write_project(tmp_path, extensions={"counting": ""}))
    before = tree(tmp_path)
    with pytest.raises(UnusableNameError, match=why) as refused:
        new_project(name, "table", None, known)
    assert refused.value.meant == meant
    check_name(meant, known)
    assert tree(tmp_path) == before


def test_the_suggested_name_works_where_near_ones_are_taken(tmp_path):
    """It is tried like the first."""
    (tmp_path / "plugins.toml").write_text('[plugins]\nrandom_data = "x"\nrandom_2 = "y"\n')
    with pytest.raises(UnusableNameError) as refused:
        check_name("random", KnownPlugins(find_settings()))
    assert refused.value.meant == "random_3"


def test_a_folder_without_a_module_takes_no_name(tmp_path):
    """Python would import the project's own folder as a package without a file."""
    (tmp_path / "leaves").mkdir()
    check_name("leaves", nothing_known())


def test_nothing_is_overwritten(tmp_path):
    """The folder, and what it has of the project's files, are named."""
    folder = tmp_path / "leaves"
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    (folder / "src").mkdir()
    before = tree(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(UsageError) as refused:
            new_project("leaves", "text", folder, nothing_known(), dry_run)
        assert f"{folder} has README.md, src already" in refused.value.what
        assert refused.value.command.endswith(f"--kind text --into {folder}-2")
    assert tree(tmp_path) == before


def test_a_project_joins_other_files_in_a_folder(tmp_path):
    """As where `git init` came first."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    made = new_project("leaves", "text", tmp_path, nothing_known())
    assert tree(tmp_path) == {**project_files("leaves", "text"), "notes.txt": "mine"}
    assert {each.name for each in tmp_path.iterdir()} == {
        ".git", "notes.txt", *(path.partition("/")[0] for path in made.files)
    }  # fmt: skip


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("fails", [1, 4, 8])
def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch, exists, fails):
    """Whichever file it was, and whether the folder was there before or not."""
    folder = tmp_path / "leaves"
    if exists:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    left = iter(range(1, 100))

    def failing(write):
        def maybe(*arguments, **named):
            if next(left) == fails:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*arguments, **named)

        return maybe

    monkeypatch.setattr(Path, "write_text", failing(Path.write_text))
    with pytest.raises(StorageError, match="No space left"):
        new_project("leaves", "table", folder, nothing_known())
    assert tree(tmp_path) == ({"leaves/notes.txt": "mine"} if exists else {})
    assert list(tmp_path.iterdir()) == ([folder] if exists else [])


def test_ctrl_c_while_writing_leaves_nothing(tmp_path, monkeypatch):
    """Neither a file nor the temporary folder."""

    def interrupted(file, text, encoding):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new_project("leaves", "table", tmp_path / "leaves", nothing_known())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["link", "rename"])
def test_a_failed_move_takes_the_others_back(tmp_path, monkeypatch, call):
    """A file that another process made meanwhile stays, and is all that is there."""
    (tmp_path / "notes.txt").write_text("mine")
    files = {"a.txt": "1", "b/c.txt": "2", "d.txt": "3", "e/f.txt": "4"}
    link, rename = os.link, Path.rename

    def late_link(source, place):
        if Path(place).name == "d.txt":
            Path(place).write_text("theirs")
        link(source, place)

    def late_rename(source, place):
        if source.name == "e":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(source, place)

    theirs = {}
    if call == "link":
        monkeypatch.setattr(os, "link", late_link)
        theirs = {"d.txt": "theirs"}
    else:
        monkeypatch.setattr(Path, "rename", late_rename)
    with pytest.raises(StorageError, match="Nothing was written"):
        write_new_files(tmp_path, files)
    assert tree(tmp_path) == {"notes.txt": "mine", **theirs}


def test_places_where_no_folder_can_be_made_are_refused(tmp_path):
    """A file, a link that leads nowhere, a folder in one that does not exist."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, what in (
        ("file", "is a file"),
        ("link", "leads nowhere"),
        ("nowhere/leaves", "There is no folder"),
    ):
        with pytest.raises(UsageError, match=what):
            new_project("leaves", "table", tmp_path / place, nothing_known())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "link"]


def test_a_new_plugins_toml_can_be_read_with_its_examples(tmp_path):
    """As it is, and with each example taken out of its comment."""
    new_settings(tmp_path)
    file = tmp_path / "plugins.toml"
    found = read_settings(file)
    assert found.registry == tmp_path / "registry"
    assert (found.plugins, found.extensions, found.promotion) == ({}, {}, {})
    examples = re.sub(r"(?m)^# (?=\[|\w+ = )", "", file.read_text("utf-8"))
    file.write_text(examples)
    found = read_settings(file)
    assert found.plugins and found.extensions
    assert found.promotion["production"].floor == {"test_accuracy": 0.9}


def test_init_never_overwrites(tmp_path):
    """The file that is there is named, and stays."""
    (tmp_path / "plugins.toml").write_text("# mine\n")
    with pytest.raises(UsageError, match=r"has plugins\.toml already"):
        new_settings(tmp_path)
    assert (tmp_path / "plugins.toml").read_text() == "# mine\n"


@pytest.mark.gate
@pytest.mark.processes
def test_the_commands_write_list_and_refuse(tmp_path):
    """As text, as JSON, as names alone, and as a plan."""
    planned = forked_mlreg("plugins", "new", "leaves", "--kind", "text", "--dry-run", "--json")
    assert planned.status == 0 and list(tmp_path.iterdir()) == []
    assert planned.json["written"] is False
    made = forked_mlreg("plugins", "new", "leaves", "--kind", "text")
    assert made.status == 0
    assert made.stdout.split() == [f"leaves/{path}" for path in planned.json["files"]]
    assert "10 files written." in made.stderr
    quiet = forked_mlreg("plugins", "new", "trees", "-q")
    assert "src/trees/augmentation.py" in quiet.stdout.split()
    again = forked_mlreg("plugins", "new", "leaves")
    assert_error(again, 2, "leaves has README.md", "nothing is ever overwritten")
    assert_error(
        forked_mlreg("plugins", "new", "random", "--kind", "text"),
        2,
        "standard library",
        "Try: mlreg plugins new random_data --kind text",
    )
    assert_error(
        forked_mlreg("plugins", "new", "roots", "--kind", "tables"),
        2,
        "Kinds: images, table, text, folder.",
        "Try: mlreg plugins new roots --kind table",
    )
    assert not (tmp_path / "roots").exists()


@pytest.mark.processes
def test_init_makes_the_folder_and_says_what_is_no_longer_read(tmp_path):
    """A plugins.toml in a folder above is hidden by the new one."""
    assert forked_mlreg("init", "--json").json["files"] == ["plugins.toml"]
    below = forked_mlreg("init", "below")
    assert below.stdout == "below/plugins.toml\n"
    assert f"no longer reads {tmp_path / 'plugins.toml'}" in below.stderr
    assert_error(forked_mlreg("init"), 2, "plugins.toml already")


@pytest.mark.processes
def test_a_folder_that_cannot_be_written_is_an_error_of_storage(tmp_path):
    """Status 8, and nothing is left."""
    tmp_path.chmod(0o555)
    words = without_roots_rights()
    command = [*words, sys.executable, "-m", "registry_core", "plugins", "new", "leaves"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 8, done.stderr
    assert "Permission denied" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_kind_is_completed():
    """Each kind that there is a template of."""
    session.begin([])
    assert [word for word, _ in answer("mlreg plugins new leaves --kind ")[1]] == list(KINDS)
