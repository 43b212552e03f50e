"""`python -m benchmarks accuracy`: what it repeats, and which minutes it says."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import accuracy, machine
from benchmarks.lines.training import accuracy as lines
from benchmarks.records import Record
from cifar_plugin.presets import PRESETS

QUIET, BUSY = {"others_share": 0.01}, {"others_share": 0.4}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run it with runs that take no time; returns the seeds that ran, and the rows."""

    def run(*arguments: str, load=QUIET, stop_after: int = 99):
        seeds, told = [], []

        def measured(options, seed):
            if len(seeds) == stop_after:
                raise KeyboardInterrupt
            seeds.append(seed)
            minutes = {"minutes": 10.0 + seed, "fit_minutes": 9.0, "cpu_minutes": 20.0 + seed}
            work = {"operations": 50 * 10**12, "evaluation_operations": 10**12}
            return {"test_accuracy": 0.94 + seed / 1000, **minutes, **work, **load}

        monkeypatch.setattr(accuracy, "_measured", measured)
        monkeypatch.setattr(accuracy, "report", lambda name, rows, *_, **__: told.extend(rows))
        monkeypatch.setattr(machine, "commit", dict)
        try:
            accuracy.main([*arguments, "--log", str(tmp_path / "log.jsonl")])
        except KeyboardInterrupt:
            assert len(seeds) == stop_after
        return seeds, told

    return run


def test_a_stopped_benchmark_is_continued_and_repeats_no_run(run):
    """A stop loses the run that it interrupts, and no other."""
    assert run("airbench94", "--seeds", "3", stop_after=2)[0] == [0, 1]
    seeds, rows = run("airbench94", "--seeds", "3")
    assert seeds == [2]
    assert [row.get("seed") for row in rows] == [0, 1, 2, None]
    assert run("fast", "--seeds", "2")[0] == [0, 1]


def test_a_run_with_other_settings_is_another_run(run, monkeypatch):
    """A preset that was changed since is measured again, unless the log has these settings."""
    other = ("-p", "epochs=5", "-p", "whitening_bias_epochs=2")
    assert run("airbench94", "--seeds", "1")[0] == [0]
    assert run("airbench94", "--seeds", "1", *other)[0] == [0]
    changed = PRESETS["airbench94"].changed({"epochs": 5, "whitening_bias_epochs": 2})
    monkeypatch.setattr("cifar_plugin.presets.PRESETS", {"airbench94": changed})
    assert run("airbench94", "--seeds", "2")[0] == [1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("-p", "epoch=5"), "Did you mean 'epochs'?"),
        (("-p", "epochs"), "'epochs' is not key=value"),
        (("-p", "epochs=5", "--record"), "a record is of a preset as it is"),
    ],
)
def test_settings_that_cannot_be_measured_or_recorded_are_refused(run, capsys, arguments, why):
    """Before the first run."""
    with pytest.raises(SystemExit) as refused:
        run("airbench94", *arguments)
    assert why in f"{refused.value}{capsys.readouterr().err}"


def test_minutes_are_those_of_runs_that_had_the_machine_for_themselves(run):
    """Accuracies are those of all."""
    run("airbench94", "--seeds", "2", load=BUSY)
    _, rows = run("airbench94", "--seeds", "4")
    last = rows[-1]
    assert (last["n"], last["quiet"], last["minutes"], last["cpu_minutes"]) == (4, 2, 12.5, 22.5)
    assert last["mean"] == 0.9415
    facts = {"vectors": "AVX2", **BUSY}
    record = Record("accuracy-airbench94", {"machine": facts, "rows": rows, "preset": "airbench94"})
    (line,) = lines(record)
    assert line.ours == "0.9415 ± 0.0013; 50.0 TFLOP; 22.5 CPU min; 12.5 min (n = 2)"
    assert json.dumps(rows)


def test_minutes_are_left_out_if_no_run_had_the_machine_for_itself(run):
    """Load does not change the accuracy."""
    _, rows = run("airbench94", "--seeds", "2", load=BUSY)
    record = Record(
        "accuracy-airbench94",
        {"machine": {"vectors": "AVX2", **BUSY}, "rows": rows, "preset": "airbench94"},
    )
    (line,) = lines(record)
    assert line.ours == "0.9405 ± 0.0007; 50.0 TFLOP"
