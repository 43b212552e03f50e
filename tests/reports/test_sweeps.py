"""The report of a sweep, and what a version's report says of the sweep it was picked from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sweep_helpers import evidence, made_sweep, registered_sweep

from registry_core.reports.report import Report
from registry_core.reports.sources import ReportSource
from registry_core.reports.sweep_evidence import sweep_section
from registry_core.reports.sweep_words import evidence_line, facts_of, next_steps, optimism
from registry_core.reports.sweeps import build_sweep_report
from registry_core.sections import (
    BarChart,
    LineChart,
    ParallelCoordinates,
    Scatter,
    Section,
    Table,
)


def blocks(report: Report, kind: type) -> list:
    return [block for section in report.sections for block in section.blocks if type(block) is kind]


def section(report: Report, title: str) -> Section:
    return next(each for each in report.sections if each.title == title)


def test_the_values_by_trial_have_the_best_so_far():
    """Pruned trials are points of their own, after their last epoch; a failed one has none."""
    chart = blocks(build_sweep_report(made_sweep()), LineChart)[0]
    best, complete, pruned = chart.series
    assert [each.only_points for each in chart.series] == [False, True, True]
    known = [value for value in complete.values if value is not None]
    assert len(known) == 9 and best.values[-1] == max(known)
    assert list(best.values) == sorted(best.values)
    assert [n for n, value in zip(chart.x, pruned.values, strict=True) if value is not None] == [
        *(4, 9)
    ]
    assert complete.values[6] is None and pruned.values[6] is None


def test_the_best_so_far_falls_where_lower_is_better():
    """The direction is the sweep's."""
    chart = blocks(build_sweep_report(made_sweep(direction="minimize")), LineChart)[0]
    assert list(chart.series[0].values) == sorted(chart.series[0].values, reverse=True)


def test_the_curves_are_those_of_the_best_trial_and_the_pruned_ones():
    """Also of a trial that was pruned after its first epoch; without pruned ones the best few."""
    sweep = made_sweep()
    early = replace(sweep.trials[4], epochs=sweep.trials[4].epochs[:1])
    chart = blocks(build_sweep_report(sweep.with_trial(early)), LineChart)[1]
    assert [each.name for each in chart.series] == [
        *("trial 5, best", "trial 4, pruned", "trial 9, pruned")
    ]
    assert chart.series[1].values[1:] == (None, None, None)
    whole = made_sweep(trials=[each for each in sweep.trials if each.state == "complete"])
    assert len(blocks(build_sweep_report(whole), LineChart)[1].series) == 6


def test_parallel_coordinates_have_an_axis_for_each_setting_and_the_value():
    """The best quarter is emphasized, the best most; a pruned trial ends before the value."""
    sweep = made_sweep()
    (chart,) = blocks(build_sweep_report(sweep), ParallelCoordinates)
    assert [(axis.name, axis.is_log, axis.names) for axis in chart.axes] == [
        ("learning_rate", True, ()),
        ("batch_size", False, ("32", "64", "128")),
        ("dropout", False, ()),
        ("val_accuracy", False, ()),
    ]
    assert len(chart.lines) == 11  # nothing was measured of the failed one
    assert [chart.lines[each].name for each in chart.marked] == [
        f"trial {trial.number}" for trial in sweep.ranked[:3]
    ]
    ended = [line for line in chart.lines if line.values[-1] is None]
    assert [line.name for line in ended] == ["trial 4, pruned", "trial 9, pruned"]


def test_there_is_a_slice_for_each_setting_the_most_important_first():
    """On the axis that was searched; the best trial is marked."""
    sweep = made_sweep()
    rate, dropout, size = blocks(build_sweep_report(sweep), Scatter)
    assert (rate.x_label, rate.x_is_log, rate.marked) == ("learning_rate", True, (0,))
    assert (dropout.x_label, dropout.x_is_log, dropout.x_names) == ("dropout", False, ())
    assert size.x_names == ("32", "64", "128")
    assert rate.points[0] == (sweep.best.params["learning_rate"], sweep.best.value)
    assert len(rate.points) == 9


def test_the_importance_says_how_little_few_trials_tell():
    """Without it, because it is not known, there is nothing about it."""
    found = build_sweep_report(made_sweep())
    (bars,) = blocks(found, BarChart)
    assert [bar.name for bar in bars.bars] == ["learning_rate", "dropout", "batch_size"]
    assert "With n = 9 complete trials it is a hint at most." in found.to_html()
    enough = build_sweep_report(made_sweep(70))
    assert "PED-ANOVA" in enough.to_html() and "a hint at most" not in enough.to_html()
    without = build_sweep_report(made_sweep(importance={}))
    assert not blocks(without, BarChart) and "PED-ANOVA" not in without.to_html()
    assert "importance" not in section(without, "Settings").blocks[0].columns


def test_the_table_has_every_trial_the_best_first():
    """Then the pruned ones, then the failed one with its error."""
    (table,) = section(build_sweep_report(made_sweep()), "Trials").blocks
    assert isinstance(table, Table)
    states = [row[table.columns.index("state")] for row in table.rows]
    assert states == ["complete"] * 9 + ["pruned"] * 2 + ["failed"]
    assert [row[1] for row in table.rows[:9]] == [*range(1, 10)]
    assert "The loss is not a number in epoch 1." in table.rows[-1]
    assert table.rows[9][table.columns.index("val_accuracy")] == "0.3889 after epoch 2"


def test_the_winner_its_rank_and_the_optimism_are_in_the_summary():
    """And the versions that confirm it, with their mean: without the winner, which was chosen."""
    facts = dict(facts_of(registered_sweep()))
    assert facts["registered"] == "flowers@4, of trial 5, rank 1 of 9"
    assert facts["optimism"] == "validation looks 0.0122 better than the test split"
    assert facts["data"] == "5,000 validation examples; no trial reads the test split"
    said, table = section(build_sweep_report(registered_sweep()), "Confirmation").blocks
    expected = "The winner's settings with 2 other seeds: test_accuracy 0.5500 ± 0.0141."
    assert said.text == expected
    assert [row[0] for row in table.rows] == ["flowers@4", "flowers@5", "flowers@6"]


@pytest.mark.parametrize(
    "sweep",
    [
        made_sweep(trials=()),
        made_sweep(1),
        made_sweep(2, state="running"),
        made_sweep(trials=[replace(made_sweep().trials[6], epochs=())]),
        made_sweep(trials=made_sweep().trials[4:5]),
        made_sweep(120, space={**made_sweep().space, "depth": {"choices": [[1, 2], None, True]}}),
        made_sweep(space={"depth": {"low": 1, "high": 8, "log": False, "int": True}}),
        made_sweep(metric="val_<script>alert(1)</script>"),
    ],
)
def test_a_report_of_any_sweep_is_whole(sweep):
    """Whatever it has so far: no section says that its record has an unknown form."""
    found = build_sweep_report(sweep)
    page = found.to_html()
    assert "has a form that this mlreg does not know" not in page
    assert "<script" not in page
    assert json.loads(json.dumps(found.to_json()))["title"] == f"Sweep {sweep.id}"


def test_what_is_typed_next_depends_on_the_state():
    """Resume what was stopped; register what was not; or another trial."""
    assert next_steps(made_sweep(state="stopped")) == [("To resume it", "mlreg resume ab12cd34")]
    assert next_steps(made_sweep(state="running")) == []
    assert next_steps(made_sweep())[0][1] == "mlreg sweep ab12cd34 --register best"
    assert [command for _, command in next_steps(registered_sweep())] == [
        "mlreg show flowers@4",
        "mlreg promote flowers@5 production --group",
        "mlreg sweep ab12cd34 --register 3",
    ]


def test_a_complete_sweep_of_which_nothing_is_registered_says_how():
    """Also where hints are not shown, as without a terminal."""
    facts = dict(facts_of(made_sweep()))
    assert facts["registered"] == "nothing: mlreg sweep ab12cd34 --register best"
    assert "registered" not in dict(facts_of(made_sweep(state="running")))


def test_every_trial_that_was_registered_has_its_version():
    """Not the winner alone: another trial can be registered later."""
    sweep = registered_sweep()
    other = replace(sweep.ranked[1], version="flowers@7")
    found = sweep.with_trial(other)
    assert dict(facts_of(found))["also registered"] == f"flowers@7, of trial {other.number}"
    (table,) = section(build_sweep_report(found), "Trials").blocks
    place = table.columns.index("version")
    assert [row[place] for row in table.rows[:3]] == ["flowers@4", "flowers@7", None]
    assert next_steps(found)[-1][1] == f"mlreg sweep ab12cd34 --register {sweep.ranked[2].number}"
    (without,) = section(build_sweep_report(made_sweep()), "Trials").blocks
    assert "version" not in without.columns


def test_a_sweep_of_which_every_trial_failed_says_why_it_stopped():
    """With the error of the last one."""
    failed = made_sweep(trials=made_sweep().trials[6:7], state="stopped")
    assert dict(facts_of(failed))["stopped because"].endswith("not a number in epoch 1.")


def test_optimism_is_positive_where_validation_flatters():
    """Also where lower is better."""
    assert optimism("val_loss", "minimize", 0.5, 0.75).startswith("validation looks 0.25 better")
    assert optimism("val_loss", "minimize", 0.75, 0.5).startswith("validation looks 0.25 worse")
    assert optimism("val_loss", "maximize", 1.0, 1.0) == "none: the same on both splits"


def test_a_version_says_which_sweep_it_was_picked_from():
    """In one line, and as a section of its report; an ordinary version says nothing."""
    assert evidence_line(evidence()) == (
        "sweep ab12cd34: best of 12 trials by val_accuracy (0.4812; 0.0111 better than on test)"
    )
    assert evidence_line(evidence(rank=3, test_value=None)) == (
        "sweep ab12cd34: trial 7, rank 3 of 12 trials by val_accuracy (0.4812)"
    )
    assert evidence_line(evidence(test_value=0.4812)).endswith("(0.4812; the same on test)")
    (found,) = sweep_section(ReportSource({"sweep": evidence()}))
    facts = dict(found.blocks[1].rows)
    assert facts["trials"] == "12: 9 complete, 2 pruned, 1 failed"
    assert facts["rank"] == "1 of 9"
    assert facts["optimism"] == "validation looks 0.0111 better than the test split"
    assert found.blocks[2].rows[0] == ("learning_rate", "0.0001 to 0.01, logarithmic", "0.00087")
    assert sweep_section(ReportSource({})) == []
