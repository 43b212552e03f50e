"""A time is published only from a quiet machine, and with its processor."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import measure, table

QUIET = {
    "processor": "AMD EPYC",
    "family": "25",
    "model": "17",
    "vectors": "AVX-512",
    "cores": 2,
    "others_share": 0.01,
}
STARTUP = [
    {"side": "import tensorflow, keras", "wall_seconds": 4.4},
    {"side": "mlreg run", "wall_seconds": 6.3},
    {"ratio": 1.44},
]


def write(folder: Path, name: str, facts: dict, rows: list, **more: object) -> None:
    """Write a record as `--record` does."""
    content = {"date": "2026-11-25", "machine": facts, "rows": rows, "rounds": 5, **more}
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_a_time_of_a_quiet_machine_is_in_the_table_with_its_processor(tmp_path):
    """The legend has family, model and vector instructions."""
    write(tmp_path, "startup", QUIET, STARTUP)
    written = table.table(tmp_path)
    assert "A: 2 cores of an AMD EPYC (family 25, model 17, AVX-512).  \n" in written
    assert "| 6.3 s | 4.4 s: `import tensorflow, keras` | 1.44 | 2026-11-25, 5, A |" in written


@pytest.mark.parametrize("missing", [{"others_share": 0.4}, {"vectors": ""}])
def test_a_time_of_a_busy_or_unknown_machine_is_not_in_the_table(tmp_path, missing):
    """Such a time says nothing about mlreg."""
    write(tmp_path, "startup", {**QUIET, **missing}, STARTUP)
    assert "6.3 s" not in table.table(tmp_path)


def test_an_example_is_in_the_table_beside_each_model_of_scikit_learn(tmp_path):
    """Load does not change its accuracy, nor theirs."""
    ours = {"metric": "test_mae", "mean": 13200, "deviation": 90, "n": 3, "test": 590}
    rows = [ours, {"side": "RidgeCV", "test_mae": 17500}, {"side": "Trees", "test_mae": 14700}]
    busy = {**QUIET, "others_share": 0.4}
    write(tmp_path, "examples-ames", busy, rows, plugin="table", data="ames")
    written = table.table(tmp_path)
    assert "`mlreg run table` on `ames`, test_mae, 590 test examples | 13,200 ± 90 |" in written
    assert "| 17,500: RidgeCV; 14,700: Trees |  | 2026-11-25, 3, A |" in written


def test_an_exports_latency_is_in_the_table_of_a_quiet_machine_alone(tmp_path):
    """Its size, its difference and what 8-bit integers cost are there in any case."""
    compared = {"measure": "accuracy", "difference": -0.002, "low": -0.004, "high": 0.0}
    compared |= {"test": "exact McNemar", "examples": 10_000}
    row = {"side": "litert --int8", "size": 1_500_000, "milliseconds": 0.25}
    row |= {"keras_milliseconds": 1.0, "largest_difference": 0.01, "largest_output": 2.0}
    row |= {"int8": {"comparison": compared, "quantized": 0.86, "float": 0.862}}
    more = {"dataset": "cifar10", "preset": "baseline", "keras_size": 15_000_000}
    for share, latency in ((0.01, ", 0.25 ms |"), (0.4, "the largest |")):
        write(tmp_path, "exports", {**QUIET, "others_share": share}, [row], **more)
        written = table.table(tmp_path)
        assert "1.5 MB, outputs within 0.005 of the largest" in written
        assert latency in written
        assert "0.8600 (-0.0020, 95 % interval -0.0040 to +0.0000; exact McNemar)" in written
        assert "0.8620: the float model" in written


def test_an_accuracy_of_a_busy_machine_is_in_the_table_without_its_minutes(tmp_path):
    """Load does not change weights."""
    row = {"n": 3, "mean": 0.9406, "deviation": 0.0017, "minutes": 46.5}
    write(
        tmp_path, "accuracy-airbench94", {**QUIET, "others_share": 0.4}, [row], preset="airbench94"
    )
    written = table.table(tmp_path)
    assert "0.9406 ± 0.0017 |" in written
    assert "46.5" not in written


def test_each_machine_has_its_own_letter(tmp_path):
    """Figures from two processors cannot be confused."""
    write(tmp_path, "startup", QUIET, STARTUP)
    row = {"kills": 20, "equal": 20}
    write(tmp_path, "resume", {**QUIET, "model": "1", "vectors": "AVX2"}, [row], preset="quick")
    written = table.table(tmp_path)
    assert "A: 2 cores of an AMD EPYC (family 25, model 17, AVX-512)" in written
    assert "B: 2 cores of an AMD EPYC (family 25, model 1, AVX2)" in written
    assert "2026-11-25, 20, B |" in written


def test_a_time_measured_beside_other_work_is_not_recorded(tmp_path, monkeypatch):
    """The error names the share that other processes used."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(measure, "machine", lambda: {**QUIET, "others_share": 0.31})
    with pytest.raises(SystemExit, match=r"other processes took 31.0% of the cores"):
        measure.report("startup", STARTUP, record=True)
    assert not list(tmp_path.iterdir())


def test_a_benchmarks_own_work_is_not_counted_as_load(monkeypatch):
    """The time that this process used is subtracted from the busy time of the cores."""
    others = [0.0]
    busy = lambda: (measure.own_cpu_seconds() + others[0], 0.0)  # noqa: E731
    monkeypatch.setattr(measure, "_busy_and_stolen", busy)
    load = measure.Load()
    began = time.perf_counter()
    while time.perf_counter() - began < 0.1:
        sum(range(10_000))
    assert load.shares()["others_share"] < 0.02
    others[0] = 1.0
    assert load.shares()["others_share"] > 0.5


def test_each_tuners_line_says_what_kills_cost_it(tmp_path):
    """One that could not be resumed has its line too."""
    cost = {"wall_seconds": 60.0, "wall_overhead_a_trial": 0.2, "cpu_overhead_a_trial": 0.3}
    killed = {"resumed": "a command", "kills": 3, "ended_before_a_kill": 15, "trials_missing": 0}
    killed |= {"trials_again": 2, "epochs_in_vain": 12, "same_values": 18}
    rows = [
        {"side": "bare loop", "wall_seconds": 50.0},
        {"side": "mlreg sweep", "version": "1", **cost, **killed},
        {"side": "Other", "version": "2.0", **cost, "resumed": "hand", "kills": 1, "failed": "no"},
    ]
    write(tmp_path, "tuners", QUIET, rows, trials=50, killed_trials=20, kills=3)
    written = table.table(tmp_path)
    assert (
        "| overhead of a trial of 1 s, 50 trials one after another | 0.2 s, CPU 0.3 s |" in written
    )
    assert "| 0.2 s, CPU 0.3 s: Other 2.0 |" in written
    assert "0 of 15 ended trials missing, 2 trained again; 12 epochs in vain; 18 of 20" in written
    assert "| not resumed after kill 1: Other, hand |" in written
