"""Where a run happened: real git repositories, made for each test."""

import json
import platform
import subprocess

import pytest
from fakes import Recorder

import registry_core
from registry_core.lifecycle.environment import describe_environment, git_state, result_variables
from registry_core.lifecycle.messages import warn_of_unused_gpus
from registry_core.process import machine


def git(folder, *arguments) -> str:
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "plugin.py").write_text("first\n")
    git(tmp_path, "add", "plugin.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(repository):
    """The commit is recorded in full."""
    commit = git(repository, "rev-parse", "HEAD")
    assert len(commit) == 40
    assert git_state(repository) == {"commit": commit, "dirty": False}


def test_a_changed_file_and_a_new_file_make_it_dirty(repository):
    """A version whose code is not in its commit says so."""
    (repository / "new.py").write_text("new\n")
    assert git_state(repository)["dirty"]
    (repository / "new.py").unlink()
    assert not git_state(repository)["dirty"]
    (repository / "plugin.py").write_text("second\n")
    assert git_state(repository)["dirty"]


def test_a_folder_inside_a_repository_has_its_commit(repository):
    """The project may be a part of a repository."""
    (repository / "inner").mkdir()
    assert git_state(repository / "inner")["commit"] == git(repository, "rev-parse", "HEAD")


def test_outside_git_nothing_is_recorded(tmp_path):
    """Neither a plain folder nor one that is not there is an error."""
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "nowhere") is None


def test_a_repository_without_a_commit_has_no_state(tmp_path):
    """A commit that is not there cannot be recorded."""
    git(tmp_path, "init", "--quiet")
    assert git_state(tmp_path) is None


def test_without_git_nothing_is_recorded(repository, monkeypatch):
    """mlreg works where git is not installed."""
    monkeypatch.setenv("PATH", str(repository / "empty"))
    assert git_state(repository) is None


def test_the_environment_is_json_and_says_what_ran(repository):
    """Interpreter, machine and code, as the manifest keeps them."""
    found = describe_environment(repository)
    assert json.loads(json.dumps(found)) == found
    assert found["mlreg"] == registry_core.__version__
    assert found["python"] == platform.python_version()
    assert found["cpus"] >= 1
    assert found["git"]["dirty"] is False
    assert 1 <= found["usable_cpus"] <= found["cpus"]
    assert set(found) == {
        "mlreg", "python", "platform", "processor", "vector_instructions", "cpus", "usable_cpus",
        "variables", "git",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu sse2 ssse3 sse4_2 fma avx f16c avx2 avx512f "
         "avx512_bf16 avx_vnni amx_tile aes hypervisor\n\nmodel name\t: another\n",
         ["amx_tile", "avx", "avx2", "avx512_bf16", "avx512f", "avx_vnni", "f16c", "fma", "sse4_2",
          "ssse3"]),
        ("processor\t: 0\nFeatures\t: fp asimd aes asimdhp sve bf16 i8mm svebf16\n",
         ["asimd", "asimdhp", "bf16", "i8mm", "sve", "svebf16"]),
        ("processor\t: 0\n", []),
    ],
)  # fmt: skip
def test_the_processors_vector_instructions_are_recorded(monkeypatch, tmp_path, cpuinfo, expected):
    """All of them, on x86 and ARM; flags that no kernel is chosen by are left out."""
    monkeypatch.setattr(machine, "_read", lambda file: cpuinfo.strip())
    assert describe_environment(tmp_path)["vector_instructions"] == expected


def test_variables_that_decide_are_recorded_and_no_others(monkeypatch):
    """Kernels, precision, devices, threads; not logs, kept kernels and secrets."""
    for name in result_variables():
        monkeypatch.delenv(name)
    given = {
        "TF_DETERMINISTIC_OPS": "1", "TF_ENABLE_ONEDNN_OPTS": "0", "XLA_FLAGS": "--xla_cpu",
        "TF_CUDNN_DETERMINISTIC": "1", "KERAS_BACKEND": "tensorflow", "OMP_NUM_THREADS": "2",
        "NVIDIA_TF32_OVERRIDE": "0", "TF_NUM_INTRAOP_THREADS": "1", "PYTHONHASHSEED": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    others = {
        "TF_CPP_MIN_LOG_LEVEL": "3", "TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE": "0",
        "AWS_SECRET_ACCESS_KEY": "x", "HOME": "/root",
    }  # fmt: skip
    for name, value in (given | others).items():
        monkeypatch.setenv(name, value)
    assert result_variables() == given


@pytest.fixture
def two_cards(tmp_path, monkeypatch):
    """A machine whose nvidia-smi tells of two."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A, 80 GiB, 580'\necho 'NVIDIA B, 80 GiB, 580'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def warned(**environment) -> list[str]:
    recorder = Recorder()
    known = {"device": platform.machine(), "variables": {}}
    warn_of_unused_gpus({**known, **environment}, recorder)
    return recorder.warnings


def test_cards_that_tensorflow_does_not_find_are_a_warning(two_cards):
    """With the command that installs what it lacks, and what to type if that is wanted."""
    (warning,) = warned()
    assert "NVIDIA A and NVIDIA B" in warning
    assert "pip install 'tensorflow[and-cuda]'" in warning
    assert "--gpus 0" in warning


@pytest.mark.parametrize(
    "environment",
    [
        {"device": "NVIDIA A"},
        {"gpus": 0},
        {"variables": {"CUDA_VISIBLE_DEVICES": ""}},
        {"variables": {"CUDA_VISIBLE_DEVICES": "-1"}},
    ],
)
def test_cards_that_are_used_or_hidden_are_no_warning(two_cards, environment):
    """`--parallel` hides the cards of other runs in the same way."""
    assert warned(**environment) == []


def test_a_machine_without_cards_is_no_warning(tmp_path, monkeypatch):
    """Most have none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path)
    assert warned() == []
