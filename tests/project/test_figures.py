"""The published figures are those of the records, of the least favourable machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import records, table
from benchmarks.lines.line import compared, times

QUIET = {
    "processor": "AMD EPYC",
    "family": "25",
    "model": "17",
    "vectors": "AVX-512",
    "cores": 2,
    "others_share": 0.01,
}
OLDER = {**QUIET, "family": "23", "model": "1", "vectors": "AVX2"}
UNKNOWN = {"processor": "AMD EPYC", "cores": 2, "python": "3.11.7"}  # as the first records were
STARTUP = [
    {"side": "import tensorflow, keras", "wall_seconds": 4.4, "cpu_seconds": 4.0},
    {"side": "mlreg run", "wall_seconds": 6.3, "cpu_seconds": 6.0},
    {"ratio": 1.44},
]
FOLDER = Path(records.RESULTS)


def write(folder: Path, name: str, facts: dict, rows: list, **more: object) -> None:
    """Write a record as `--record` does."""
    content = {"benchmark": name, "date": "2026-11-25", "machine": facts, "rounds": 5}
    records.write({**content, "rows": rows, **more}, folder)


def startup(seconds: float) -> list:
    """A record whose mlreg takes so many CPU seconds beside four of the imports."""
    return [STARTUP[0], {**STARTUP[1], "cpu_seconds": seconds}, STARTUP[2]]


def test_the_figures_of_readme_and_docs_are_those_of_the_records():
    """`python -m benchmarks table` would change no page."""
    pages = table.pages()
    assert len(pages) == 3
    for page, text in pages.items():
        assert page.read_text("utf-8") == text, f"{page.name}: run `python -m benchmarks table`"


@pytest.mark.parametrize("name", sorted({*records.read()}))
def test_each_record_that_may_be_published_has_its_lines(name):
    """None is recorded and then forgotten by the table."""
    lines = [each for each in table.chosen() if each.record.name == name]
    assert lines or not any(record.published for record in records.read()[name])


def test_each_group_of_lines_has_its_heading():
    """None is left out of the page because its group is not known."""
    written = table.table()
    for each in table.chosen():
        assert f"## {each.line.group}\n" in written


def test_a_pages_accuracies_are_those_of_the_records(tmp_path):
    """A preset without a record keeps what was written by hand."""
    row = {"n": 5, "mean": 0.9406, "deviation": 0.0017, "minutes": 46.5}
    write(tmp_path, "accuracy-airbench94", QUIET, [row], preset="airbench94")
    page = "| `airbench94` | eight epochs | 0.5 |\n| `quick` | three | 0.447 |\n"
    written = table.with_accuracies(page, table._accuracies(tmp_path))
    assert "| eight epochs | 0.9406 ± 0.0017 (mean and standard deviation of 5 seeds) |" in written
    assert "| `quick` | three | 0.447 |" in written


def test_cpu_time_comes_before_wall_time_and_each_line_names_its_machine(tmp_path):
    """The legend has family, model and vector instructions."""
    write(tmp_path, "startup", QUIET, STARTUP)
    written = table.table(tmp_path)
    assert "A: 2 cores of an AMD EPYC (family 25, model 17, AVX-512).  \n" in written
    assert (
        "| 6.0 CPU s; 6.3 s | 4.0 CPU s; 4.4 s: `import tensorflow, keras` alone "
        "| CPU 1.50 times more, wall 1.43 times more | 2026-11-25, 5, A |"
    ) in written
    assert written.index("## Training speed") < written.index("6.0 CPU s")


@pytest.mark.parametrize(
    ("paired", "words"),
    [
        ({}, "CPU 1.60 times less, wall 2.21 times less (least 2.1)"),
        (
            {"cpu_ratio": 1.7, "cpu_least": 1.5},
            "CPU 1.70 times less, wall 2.21 times less (least 1.5 and 2.1)",
        ),
    ],
)
def test_training_is_compared_in_pairs_and_older_records_by_their_medians(tmp_path, paired, words):
    """CPU time first."""
    rows = [
        {"side": "the other", "cpu_seconds": 160.0, "images_per_second": 1000},
        {"side": "mlreg", "cpu_seconds": 100.0, "images_per_second": 2210},
        {"beside": "the other", "ratio": 2.21, "least": 2.1, **paired},
    ]
    write(tmp_path, "throughput", QUIET, rows, epochs=2, images=50_000)
    assert f"| {words} |" in table.table(tmp_path)


def test_of_several_machines_the_least_favourable_is_shown_and_all_are_counted(tmp_path):
    """Whichever was measured last."""
    write(tmp_path, "startup", QUIET, startup(5.0), date="2026-11-26")
    write(tmp_path, "startup", OLDER, startup(7.0), date="2026-11-24")
    for pages in (table.table, table.headlines):
        written = pages(tmp_path)
        assert "family 23, model 1, AVX2" in written
        assert "| 7.0 CPU s; 6.3 s |" in written
        assert "5.0 CPU s" not in written
        assert "2026-11-24, 5, A of 2 |" in written


def test_two_machines_may_each_be_the_least_favourable_of_a_line(tmp_path):
    """Their letters say which."""
    write(tmp_path, "startup", QUIET, startup(7.0))
    write(tmp_path, "startup", OLDER, startup(5.0))
    row = {"kills": 20, "equal": 20}
    write(tmp_path, "resume", OLDER, [row], preset="quick")
    written = table.table(tmp_path)
    assert "A: 2 cores of an AMD EPYC (family 25, model 17, AVX-512)" in written
    assert "B: 2 cores of an AMD EPYC (family 23, model 1, AVX2)" in written
    assert "2026-11-25, 5, A of 2 |" in written
    assert "2026-11-25, 20, B |" in written


def test_an_unknown_machine_counts_only_where_no_other_was_measured(tmp_path):
    """What it measured without a time is better than nothing."""
    row = {"n": 3, "mean": 0.93, "deviation": 0.001, "minutes": 46.5}
    write(tmp_path, "accuracy-fast", UNKNOWN, [row], preset="fast")
    assert "its model was not recorded" in table.table(tmp_path)
    assert "46.5" not in table.table(tmp_path)
    write(tmp_path, "accuracy-fast", QUIET, [{**row, "mean": 0.94}], preset="fast")
    written = table.table(tmp_path)
    assert "not recorded" not in written
    assert "0.9400 ± 0.0010" in written


@pytest.mark.parametrize(
    "facts",
    [
        {**QUIET, "others_share": 0.4},
        {**QUIET, "others_share_of_a_part": 0.6},
        {**QUIET, "stolen_share": 0.2},
        {**QUIET, "vectors": ""},
        UNKNOWN,
    ],
)
def test_a_time_of_a_shared_or_unknown_machine_is_not_in_the_table(tmp_path, facts):
    """Such a time says nothing about mlreg."""
    write(tmp_path, "startup", facts, STARTUP)
    assert "6.3 s" not in table.table(tmp_path)


def test_a_precision_stands_beside_pytorchs_and_determinism_beside_what_it_costs(tmp_path):
    """A row without its other side has no line."""
    speeds = {
        "mlreg baseline": 4_000,
        "mlreg baseline deterministic=false": 5_000,
        "mlreg baseline precision=mixed_float16": 3_000,
        "mlreg airbench94": 90_000,
        "PyTorch baseline compile": 8_000,
        "PyTorch baseline compile half": 9_000,
    }
    rows = [
        {"side": side, "images_per_second": speed, "least": speed - 10, "most": speed + 10, "n": 5}
        for side, speed in speeds.items()
    ]
    write(tmp_path, "gpu", {**QUIET, "gpus": [{"name": "NVIDIA A card"}]}, rows)
    lines = table.table(tmp_path).split("| training of ")[1:]
    assert [line.split(" | ")[:4] for line in lines] == [
        [
            "`baseline`",
            "4,000 images/s (3,990 to 4,010)",
            "8,000 images/s (7,990 to 8,010): its network in PyTorch, compiled",
            "wall 2.00 times more",
        ],
        [
            "`baseline deterministic=false`",
            "5,000 images/s (4,990 to 5,010)",
            "4,000 images/s (3,990 to 4,010): with determinism",
            "wall 1.25 times less",
        ],
        [
            "`baseline precision=mixed_float16`",
            "3,000 images/s (2,990 to 3,010)",
            "9,000 images/s (8,990 to 9,010): its network in PyTorch, compiled, in half precision",
            "wall 3.00 times more",
        ],
    ]


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


def test_an_accuracy_of_a_shared_machine_is_in_the_table_without_its_minutes(tmp_path):
    """Load does not change weights."""
    runs = [{"seed": seed, "cpu_minutes": 60 + seed} for seed in range(3)]
    last = {"n": 3, "mean": 0.9406, "deviation": 0.0017, "minutes": 46.5}
    for share, minutes in ((0.4, ""), (0.01, "; 61.0 CPU min; 46.5 min")):
        facts = {**QUIET, "others_share": share}
        write(tmp_path, "accuracy-airbench94", facts, [*runs, last], preset="airbench94")
        assert f"| 0.9406 ± 0.0017{minutes} |" in table.table(tmp_path)


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
    assert "| 0.3 CPU s; 0.2 s, to a trial of 1 s | 0.3 CPU s; 0.2 s: Other 2.0 |" in written
    assert "0 of 15 ended trials missing, 2 trained again; 12 epochs in vain; 18 of 20" in written
    assert "| not resumed after kill 1: Other, hand |" in written


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (1.0, 1.61, "1.61 times less"),
        (3.0, 2.0, "1.50 times more"),
        (1.001, 1.0, "the same"),
        (0, 1, ""),
    ],
)
def test_a_ratio_says_its_direction(ours, theirs, words):
    """Nobody has to know what is divided by what."""
    assert times(ours, theirs) == words


def test_a_comparison_has_cpu_time_first():
    """Wall time depends more on what else a machine does."""
    assert compared((1, 2), (2, 1)) == "CPU 2.00 times less, wall 2.00 times more"


def test_no_line_of_the_published_table_lacks_a_date_and_a_machine():
    """Each says when, how often and where it was measured."""
    rows = [row for row in table.table().splitlines() if re.match(r"\| (?!what)\S", row)]
    assert len(rows) > 10
    for row in rows:
        assert re.search(r"\| 20\d\d-\d\d-\d\d, .+, [A-Z]( of \d+)? \|$", row), row


def test_every_record_says_what_processor_it_was_measured_on():
    """Its folder is that of its machine, so that no machine replaces another's."""
    files = list(FOLDER.rglob("*.json"))
    assert files
    for file in files:
        content = json.loads(file.read_text("utf-8"))
        folders = [name for name in file.relative_to(FOLDER).parent.parts if name != "shared"]
        assert folders == [records.machine_name(content["machine"])], file.name
        assert file.stem == content["benchmark"]
