"""`python -m benchmarks ablation`: which trainings it makes, and what it says of them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import ablation
from benchmarks.ablation import table
from benchmarks.lines.training import ablation as lines
from benchmarks.log import Log
from benchmarks.records import Record

QUIET = {"vectors": "AVX2", "others_share": 0.01}


def training(variant: str, seed: int, accuracy: float, operations: int, **more: object) -> dict:
    """A training of two epochs on a quiet machine."""
    return {
        "variant": variant,
        "seed": seed,
        "epochs": 2,
        "validation_accuracy": accuracy,
        "validation_loss": 0.5,
        "operations": operations,
        "cpu_seconds": 100.0 + seed,
        "others_share": 0.01,
        "changes": {} if variant == "whole" else {"widths": [8, 4, 8]},
        **more,
    }


SEVERAL = [
    training("whole", 0, 0.90, 4 * 10**12),
    training("narrow", 0, 0.89, 10**12),
    training("whole", 1, 0.92, 4 * 10**12),
    training("narrow", 1, 0.93, 10**12),
    training("narrow", 2, 0.97, 10**12),
]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run it with trainings that take no time; returns the names and seeds that were trained."""

    def run(*arguments: str, stop_after: int = 99) -> list[tuple[object, int]]:
        trained: list[tuple[object, int]] = []

        def train(options: object, settings: dict) -> dict:
            if len(trained) == stop_after:
                raise KeyboardInterrupt
            trained.append((settings["widths"], settings["seed"]))
            made = training("", settings["seed"], 0.9, 10)
            return {key: made[key] for key in made if key not in ("variant", "changes")}

        monkeypatch.setattr(ablation, "_train", train)
        words = ["--seeds", "2", "--epochs", "2", "--log", str(tmp_path / "log.jsonl")]
        try:
            ablation.main([*words, *arguments])
        except KeyboardInterrupt:
            assert len(trained) == stop_after
        return trained

    return run


def test_variants_are_trained_seed_by_seed_and_those_in_the_log_are_not_repeated(run, capsys):
    """A stop loses the training that it interrupts, and no other."""
    whole, narrow = [64, 256, 256], [64, 192, 256]
    two = ("--only", "whole", "narrow")
    assert run(*two, stop_after=3) == [(whole, 0), (narrow, 0), (whole, 1)]
    assert run(*two) == [(narrow, 1)]
    assert run(*two, "small", "--add", "small", "widths=[8, 8, 8]") == [
        ([8, 8, 8], 0),
        ([8, 8, 8], 1),
    ]
    assert "variant small  n 2" in capsys.readouterr().out


def test_other_settings_are_other_trainings(run):
    """Although the variant and the seed are the same."""
    assert len(run("--only", "whole")) == 2
    assert len(run("--only", "whole", "--epochs", "3")) == 2
    assert len(run("--only", "whole", "--preset", "fast")) == 2


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    """The next training has a line of its own."""
    log = Log(tmp_path / "log.jsonl")
    log.append({"seed": 0})
    with log.file.open("a") as stream:
        stream.write('{"seed": 1, "vali')
    assert log.read() == [{"seed": 0}]
    log.append({"seed": 2})
    assert log.read() == [{"seed": 0}, {"seed": 2}]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--only", "wide"), "No variant wide; there are whole, 24px,"),
        (("--preset", "airbanch"), "No preset 'airbanch'; there are baseline,"),
        (("--preset", "baseline"), "baseline has no widths; choose with --only."),
        (("--add", "wide", "widths"), "'widths' is not key=value."),
        (("--add", "wide", "witdhs=1"), "witdhs"),
        (("--epochs", "2", "--add", "odd", "small_epochs=3"), "it must be at most epochs, 2"),
    ],
)
def test_variants_that_cannot_be_are_refused_before_anything_is_trained(
    run, capsys, arguments, why
):
    """With what there is."""
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["airbench94", "baseline"])
def test_the_test_images_are_no_validation_images(preset):
    """5,000 of the training images are held out, whatever the preset does."""
    options = argparse.Namespace(preset=preset, epochs=None, images=None, only=["whole"], add=[])
    settings = ablation._variants(options)["whole"].settings
    assert (settings["validation_examples"], settings["watch_test"]) == (5_000, False)


def test_differences_are_in_pairs_of_one_seed():
    """A seed that one of them lacks counts in the mean alone."""
    whole, narrow = table(SEVERAL)
    assert (whole["n"], whole["validation_accuracy"], whole["deviation"]) == (2, 0.91, 0.0141)
    assert "difference" not in whole
    assert (narrow["n"], narrow["validation_accuracy"], narrow["deviation"]) == (3, 0.93, 0.04)
    assert (narrow["difference"], narrow["difference_deviation"]) == (0.0, 0.0141)
    assert narrow["share_of_operations"] == 0.25
    assert narrow["cpu_seconds"] == 101.0


def test_one_training_has_no_deviation():
    """None, and no pair without the preset as it is."""
    (row,) = table(SEVERAL[1:2])
    assert row["deviation"] is None
    assert not {"difference", "share_of_operations"} & row.keys()


@pytest.mark.parametrize(
    ("machine", "others_share", "timed"),
    [(QUIET, 0.01, True), (QUIET, 0.2, False), ({**QUIET, "others_share": 0.2}, 0.01, False)],
)
def test_accuracy_and_operations_are_published_and_times_only_from_a_quiet_machine(
    machine, others_share, timed
):
    """Quiet for the record, and while each training ran."""
    rows = table([{**each, "others_share": others_share} for each in SEVERAL])
    content = {"machine": machine, "rows": json.loads(json.dumps(rows)), "preset": "airbench94"}
    record = Record("ablation-airbench94", content)
    assert record.published
    whole, narrow = lines(record)
    time = "; 101 CPU s" if timed else ""
    assert narrow.what == "`airbench94` with widths 8-4-8, 2 epochs"
    assert narrow.ours == f"0.9300 ± 0.0400; 1.0 TFLOP{time}"
    assert narrow.theirs == whole.ours
    assert narrow.ratio == "operations 4.00 times less; accuracy +0.0000 ± 0.0141"
    assert whole.what == "`airbench94` with its own settings, 2 epochs"
    assert whole.beside == ""
