"""`mlreg run --on … --parallel …`: what is refused at once, and what is run in other processes."""

import json
from pathlib import Path

import pytest
from cli_helpers import assert_error, forked_mlreg, keras_mlreg
from fakes import write_project


@pytest.fixture
def project(tmp_path):
    write_project(tmp_path)
    return tmp_path


@pytest.mark.gate(keep=2)
@pytest.mark.processes
@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (["--parallel", "4"], 2, "mlreg run flowers --seeds 4 --parallel 4"),
        (["--seeds", "2", "--parallel", "2", "--gpus", "3"], 2, "needs 6"),
        (["--on", "lokal"], 2, "Try: mlreg run flowers --on local"),
        (["--on", "head"], 2, "Try: mlreg run flowers --on ray://head:10001"),
        (["--gpus", "2"], 2, "needs 2, and this machine has 1"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_trained(
    project, words, status, named
):
    """The message names what would work."""
    for dry_run in ([], ["--dry-run"]):
        line = ["run", "flowers", *words, *dry_run]
        done = forked_mlreg(*line, cwd=project, CUDA_VISIBLE_DEVICES="0")
        assert_error(done, status, named)


@pytest.mark.processes
def test_a_cluster_that_is_not_there_is_named_while_mlreg_connects(project):
    """Not with --quiet: the error alone is there."""
    for quiet in ([], ["-q"]):
        done = forked_mlreg("run", "flowers", "--on", "ray://127.0.0.1:1", *quiet, cwd=project)
        assert_error(done, 8, "ray://127.0.0.1:1 cannot be reached")
        assert ("Connecting to ray://127.0.0.1:1" in done.stderr) is not bool(quiet)


@pytest.mark.processes
@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_keras_trains_the_same_bits_two_at_a_time_and_alone(tmp_path):
    """With one core each; the record has the threads, and the run trains again identically."""
    example = Path(__file__).parents[2] / "examples" / "spirals" / "spirals.py"
    (tmp_path / "spirals.py").write_text(example.read_text())
    (tmp_path / "plugins.toml").write_text(
        '[registry]\npath = "registry"\n[plugins]\nspirals = "spirals"\n'
    )
    words = ["run", "spirals", "--preset", "quick", "--cpus", "1", "-q"]
    together = keras_mlreg(*words, "--seeds", "2", "--parallel", "2", cwd=tmp_path)
    assert together.stdout.split() == ["spirals@1", "spirals@2"]
    alone = keras_mlreg(*words, "--seed", "1", cwd=tmp_path)
    shown = [
        json.loads(keras_mlreg("show", ref, "--json", cwd=tmp_path).stdout)["manifest"]
        for ref in ("spirals@2", *alone.stdout.split())
    ]
    assert shown[0]["weights"] == shown[1]["weights"]
    assert shown[0]["environment"]["variables"]["TF_NUM_INTRAOP_THREADS"] == "1"
    again = keras_mlreg("reproduce", "spirals@2", "--cpus", "1", "-q", cwd=tmp_path)
    assert again.stdout.split() == ["identical"]
