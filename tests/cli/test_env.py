"""`mlreg env`: where things are and why, what is installed, what the machine has."""

from __future__ import annotations

import json
import os
import platform
import sqlite3

import numpy as np
import pytest
from cli_helpers import fill, mlreg, python
from fakes import TABLE_PLUGIN, write_plugin, write_settings

import registry_core
from registry_core.process import machine

_SMI = "#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB, 570.86.15'\n"


@pytest.fixture
def project(tmp_path):
    """A registry with one model, a plugin that is there and one that is not."""
    write_plugin(tmp_path, "flowers_plugin", TABLE_PLUGIN)
    write_settings(tmp_path, {"flowers": "flowers_plugin", "weeds": "weeds"}, registry="registry")
    fill(tmp_path / "registry", 0.5)
    return tmp_path


@pytest.mark.gate
@pytest.mark.processes
def test_the_registry_is_told_with_what_named_it(project, tmp_path_factory):
    """The option, MLREG_HOME, plugins.toml, the default; whether it is there, and its models."""
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))

    def told(*words, **environment):
        done = mlreg(*words, "env", "--json", **environment)
        assert done.status == 0, done.stderr
        found = done.json["registry"]
        return found["folder"], found["reason"], found["exists"], found["models"]

    settings = project / "plugins.toml"
    named = f"named by {settings}"
    assert told() == (str(project / "registry"), named, True, 1)
    assert told(MLREG_HOME=elsewhere) == (elsewhere, "named by MLREG_HOME", True, 0)
    option = told("--registry", "/nowhere", MLREG_HOME=elsewhere)
    assert option == ("/nowhere", "named by --registry", False, None)
    settings.unlink()
    default = f"{os.environ['HOME']}/.local/share/mlreg"
    assert told() == (
        default,
        "the default, as neither --registry, MLREG_HOME nor a plugins.toml names one",
        False,
        None,
    )


@pytest.mark.processes
def test_everything_is_told_in_a_moment_and_without_tensorflow(project):
    """Versions come from metadata; the plugins with their state; the machine as it is."""
    code = (
        "import sys\nfrom registry_core.cli import run_command\nrun_command(['env', '--json'])\n"
        "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = python("-c", code, KERAS_BACKEND="jax", MLREG_CACHE="/kept/here")
    assert done.stderr.endswith("[]\n")
    found = done.json
    assert found["settings"]["file"] == str(project / "plugins.toml")
    assert found["cache"] == {"folder": "/kept/here", "reason": "named by MLREG_CACHE"}
    versions = found["versions"]
    assert versions["mlreg"] == registry_core.__version__
    assert versions["python"] == platform.python_version()
    assert versions["sqlite"] == sqlite3.sqlite_version
    assert versions["numpy"] == np.__version__
    assert (found["keras"]["used"], found["keras"]["variable"]) == ("tensorflow", "jax")
    assert 0 < found["machine"]["cores"] <= found["machine"]["cores_of_machine"]
    assert found["machine"]["memory_bytes"] > 2**28
    assert found["machine"]["processor"]
    states = {plugin["name"]: plugin["state"] for plugin in found["plugins"]}
    assert (states["flowers"], states["weeds"]) == ("ok", "missing")


@pytest.mark.gate
@pytest.mark.processes
def test_a_place_that_cannot_be_is_told_beside_what_can(project):
    """What is wrong is what one asks `env` for; it is shown, with status 0."""
    done = mlreg("env", MLREG_HOME="~nosuch/registry")
    assert done.status == 0
    assert "'~nosuch' has no home folder" in " ".join(done.stdout.split())
    assert f"numpy {np.__version__}" in done.stdout
    (project / "plugins.toml").write_text("[plugin]\n")
    done = mlreg("env", "--json")
    assert done.status == 0
    assert "'plugin' is not a known key" in done.json["settings"]["problem"]
    assert "'plugin' is not a known key" in done.json["plugins"]["problem"]


@pytest.mark.processes
def test_a_path_is_never_folded(project):
    """It can be copied from the screen, however long it is; other lines stay within 80 columns."""
    long = f"/{'a folder with a name/' * 8}registry"
    lines = mlreg("env", MLREG_HOME=long).stdout.splitlines()
    assert f"registry    {long}" in lines
    paths = (line for line in lines if "/" in line)
    assert all(len(line) <= 80 for line in set(lines) - set(paths))


@pytest.mark.gate
@pytest.mark.processes
def test_cards_are_what_the_driver_tells(project, tmp_path):
    """nvidia-smi is asked where there is one; one that fails is as none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text(_SMI)
    (folder / "nvidia-smi").chmod(0o755)
    card = {"name": "NVIDIA H100 80GB HBM3", "memory": "81559 MiB", "driver": "570.86.15"}
    path = f"{folder}:{os.environ['PATH']}"
    assert mlreg("env", "--json", PATH=path).json["machine"]["gpus"] == [card]
    assert "gpu         NVIDIA H100 80GB HBM3, 81559 MiB" in mlreg("env", PATH=path).stdout
    (folder / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert mlreg("env", "--json", PATH=path).status == 0


def test_a_driver_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    """A few seconds are enough for it to answer."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "_SECONDS", 0.2)
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path / "driver")
    assert machine.graphics_cards() == []


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"own": "0::/a/b", "a/cpu.max": "50000 100000", "a/b/memory.max": "1048576"}, 0.5, 2**20),
        ({"own": "0::/", "cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            {
                "own": "4:cpu,cpuacct:/c\n5:memory:/c",
                "cpu/c/cpu.cfs_quota_us": "25000",
                "cpu/c/cpu.cfs_period_us": "100000",
                "memory/c/memory.limit_in_bytes": "2097152",
            },
            0.25,
            2**21,
        ),
        ({"own": "nonsense", "cpu.max": "nonsense"}, None, None),
    ],
)
def test_a_containers_limits_count(tmp_path, monkeypatch, files, cores, memory):
    """Control groups of both versions, with the ones above; None here is: as without them."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "none")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "none")
    free = machine.usable_cores(), machine.usable_memory()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    assert machine.usable_cores() == (free[0] if cores is None else cores)
    assert machine.usable_memory() == (free[1] if memory is None else memory)


def test_keras_json_is_told_where_it_says_something_else(tmp_path, monkeypatch):
    """mlreg trains with TensorFlow whatever it says; a file that is no JSON says nothing."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert machine.keras_settings(None)["file"] is None
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert machine.keras_settings(None)["file_backend"] == "torch"
    for text in ("[]", "{", "\xff"):
        (tmp_path / "keras.json").write_text(text, "latin-1")
        assert machine.keras_settings(None)["file_backend"] is None
