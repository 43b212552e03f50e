"""`python -m benchmarks gpu`, with programs in place of a graphics card and of PyTorch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import gpu, machine

QUIET, BUSY = {"others_share": 0.01}, {"others_share": 0.4}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measure PyTorch's sides; returns their rows, and how often PyTorch was started until now."""
    programs = tmp_path / "programs"
    programs.mkdir()
    _program(programs / "nvidia-smi", "echo 'NVIDIA A card, 80 GB, 1.0'")
    calls = tmp_path / "calls"
    torch = _program(
        tmp_path / "torch",
        f"""echo "$@" >> {calls}
[ "$(wc -l < {calls})" -eq 3 ] && exit 7
echo images/s 1.0; echo images/s 100.0; echo images/s 300.0""",
    )
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(machine, "commit", dict)

    def run(*more: str, load=QUIET):
        told: list[dict[str, object]] = []

        class Seen:
            def facts(self):
                return load

        monkeypatch.setattr(gpu, "Load", Seen)
        monkeypatch.setattr(gpu, "report", lambda name, rows, *_, **__: told.extend(rows))
        words = ["--only", "torch", "--torch", str(torch), "--data-dir", "anything"]
        try:
            gpu.main([*words, "--log", str(tmp_path / "log"), *more])
        except SystemExit:
            assert not told
        return told, len(calls.read_text().splitlines())

    return run


def _program(file: Path, script: str) -> Path:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_what_was_stopped_is_continued_and_no_side_is_measured_twice(measured):
    assert measured() == ([], 3)  # the third ends with an error
    rows, calls = measured()
    assert calls == 5
    assert [row["side"] for row in rows] == [
        "PyTorch baseline compile",
        "PyTorch baseline compile half",
        "PyTorch airbench94 compile",
        "PyTorch airbench94 compile half",
    ]
    for row in rows:  # without the first epoch
        assert (row["images_per_second"], row["least"], row["most"], row["n"]) == (200, 100, 300, 2)
    assert measured() == (rows, 5)


def test_a_side_with_other_epochs_is_another_side(measured, tmp_path):
    measured("--epochs", "3")
    measured("--epochs", "4")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["epochs"] for line in lines] == [3, 3, 4, 4, 4, 4]


def test_a_side_that_shared_the_machine_is_measured_again(measured):
    measured(load=BUSY)
    assert measured(load=BUSY)[1] == 7
    rows, calls = measured()
    assert (len(rows), calls) == (4, 11)
