"""`mlreg sweeps`, and `show` and `report` of a sweep, as processes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cli_helpers import assert_error, fill, in_turn, stop
from sweep_helpers import keep, made_sweep, registered_sweep

from registry_core.store import Store

pytestmark = [pytest.mark.processes]


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("MLREG_HOME", str(tmp_path / "registry"))
    return tmp_path / "registry"


def lines_of(registry, *lines):
    return in_turn([line.split() for line in lines], cwd=registry.parent, MLREG_HOME=str(registry))


def test_sweeps_are_listed_newest_first_and_shown_by_the_end_of_their_id(registry):
    """Before any version is registered: a sweep may be all that there is."""
    first, second = keep(Store(registry), registered_sweep(), made_sweep(9, state="stopped"))
    listed, as_json, quiet, one, after, shown, whole, name = lines_of(
        registry,
        "sweeps",
        "sweeps --json",
        "sweeps -q",
        "sweeps --json --limit 1",
        f"sweeps -q --after {second[-8:]}",
        f"show {first[-8:]}",
        f"show {first} --json",
        f"show {first[-8:]} -q",
    )
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["sweep", second, first]
    assert "complete   12/12    val_accuracy 0.5622   flowers@4" in listed.stdout
    assert quiet.stdout.split() == [second, first] and after.stdout.split() == [first]
    newest, oldest = as_json.json["sweeps"]
    assert (newest["id"], newest["state"], newest["version"]) == (second, "stopped", None)
    assert oldest["best"] == {"trial": 5, "value": pytest.approx(0.5622, abs=1e-4)}
    assert [oldest[each] for each in ("told", "complete", "pruned", "failed")] == [12, 9, 2, 1]
    assert one.json["next"] == second and as_json.json["next"] is None
    assert name.stdout == f"{first}\n"
    assert whole.json["sweep"]["id"] == first and len(whole.json["sweep"]["trials"]) == 12
    lines = shown.stdout.splitlines()
    assert lines[0] == f"Sweep {first}  complete"
    assert "optimism            validation looks 0.0122 better than the test split" in lines
    order = [line.split()[:3] for line in lines[lines.index("") :] if line[:1].isdigit()]
    assert order[0] == ["5", "complete", "0.5622"] and order[-1][:2] == ["6", "failed"]
    values = [float(value) for _, state, value in order if state == "complete"]
    assert values == sorted(values, reverse=True) and len(order) == 12
    assert "trial 6 failed: The loss is not a number in epoch 1." in lines
    assert "With n = 9 complete trials it is a hint at most." in shown.stdout


def test_what_is_neither_a_version_nor_a_sweep_is_said_to_be_neither(registry):
    """With the sweeps that there are, and how to look at a run; a model's name comes first."""
    store = fill(registry, 0.5, model="cafe")
    (sweep,) = keep(store, made_sweep(3))
    run = stop(store)
    unknown, date, of_run, model, version, two = lines_of(
        registry,
        "show deadbeef",
        "show 20200101T000000Z-00000000",
        f"show {run}",
        "show cafe -q",
        "show cafe@1 -q",
        f"report {sweep[-8:]} cafe@1",
    )
    assert_error(unknown, 2, "No model and no sweep is called 'deadbeef'", sweep[-8:])
    assert_error(date, 2, "No sweep is called '20200101T000000Z-00000000'", "mlreg sweeps")
    assert_error(of_run, 2, "No sweep is called", "The log of a run: mlreg show RUN --log")
    assert model.stdout == version.stdout == "cafe@1\n"
    assert two.status == 2


def test_a_report_of_a_sweep_is_one_page(registry):
    """Also of one that has no trial yet; its file is named by the end of the id."""
    ids = keep(Store(registry), registered_sweep(), made_sweep(9, state="stopped", trials=()))
    written, again, as_json = lines_of(
        registry,
        f"report {ids[0][-8:]}",
        f"report {ids[0][-8:]}",
        f"report {ids[1]} --json",
    )
    page = registry.parent / f"sweep-{ids[0][-8:]}.html"
    assert written.stdout == f"Wrote the report of sweep {ids[0]} to {page.name}\n"
    assert "<h1>Sweep " in page.read_text("utf-8")
    assert_error(again, 2, "already exists")
    titles = [each["title"] for each in as_json.json["sections"]]
    assert titles == ["Summary", "Search", "Settings", "Trials", "Settings of every trial"]


def test_the_stopped_runs_of_a_sweep_have_the_words_and_the_command_of_the_sweep(registry):
    """A complete trial is kept; another waits, however far it is, and so does a confirmation."""
    store = Store(registry)
    (sweep,) = keep(store, made_sweep(3))
    trained = stop(store, epoch=3, sweep={"id": sweep, "trial": 1})
    untold = stop(store, epoch=3, sweep={"id": sweep, "trial": 3})
    confirms = stop(store, group=sweep, sweep={"id": sweep, "confirms": 1})
    with store.sweeps.reopen(sweep) as kept:
        for number, state, run in ((1, "complete", trained), (3, "waiting", untold)):
            kept.write_trial(number, replace(made_sweep().trials[0], state=state, run=run,
                                             number=number).to_json())  # fmt: skip
    shown, as_json, resumed = lines_of(registry, "runs --wide", "runs --json", f"resume {confirms}")
    rows = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert "kept" in rows[trained] and f"mlreg show {sweep[-8:]}" in rows[trained]
    for each in (untold, confirms):
        assert "waiting" in rows[each] and f"mlreg resume {sweep[-8:]}" in rows[each]
    states = {each["id"]: each["state"] for each in as_json.json["runs"]}
    assert states == {trained: "kept", untold: "waiting", confirms: "waiting"}
    told = f"Run {confirms} confirms trial 1 of the sweep {sweep}."
    assert_error(resumed, 2, told, f"mlreg resume {sweep[-8:]}")


def test_a_deleted_sweep_takes_its_runs_along_and_leaves_its_versions(registry):
    """It asks first, says what goes and what stays, and leaves other sweeps and runs alone."""
    store = Store(registry)
    gone, other = keep(store, registered_sweep(), made_sweep(3))
    trial = stop(store, epoch=3, sweep={"id": gone, "trial": 1})
    confirmation, own = stop(store, group=gone), stop(store)
    theirs = stop(store, sweep={"id": other, "trial": 1})
    asked, planned, removed, deleted, again, runs, left = lines_of(
        registry,
        f"sweeps --discard {gone[-8:]}",
        f"sweeps --discard {gone[-8:]} --dry-run",
        f"rm {gone[-8:]}",
        f"sweeps --discard {gone[-8:]} --yes --json",
        f"sweeps --discard {gone[-8:]} --yes",
        "runs -q",
        "sweeps -q",
    )
    assert_error(asked, 2, f"Delete sweep {gone} and the files of 2 runs?", "--yes")
    assert planned.stdout.splitlines() == [
        f"Would delete sweep {gone} and the files of 2 runs",
        "What it registered stays: flowers@4, flowers@5, flowers@6",
    ]
    assert_error(removed, 2, "is a sweep", f"mlreg sweeps --discard {gone[-8:]}")
    assert deleted.json["discarded"] == [gone] and not deleted.json["dry_run"]
    assert set(deleted.json["runs"]) == {trial, confirmation}
    assert_error(again, 2, "No sweep", other[-8:])
    assert set(runs.stdout.split()) == {own, theirs} and left.stdout.split() == [other]


def test_a_sweep_that_runs_is_not_deleted(registry):
    """A damaged one can be; a trial whose sweep is gone can be deleted, and not be resumed."""
    store = Store(registry)
    running, damaged = keep(store, made_sweep(3, state="running"), made_sweep(4))
    lost = stop(store, sweep={"id": "20200101T000000Z-00000000", "trial": 1})
    (registry / "sweeps" / damaged / "sweep.json").write_text("{")
    with store.sweeps.reopen(running):
        refused, deleted, resumed = lines_of(
            registry,
            f"sweeps --discard {running} --yes",
            f"sweeps --discard {damaged} --yes -q",
            f"resume {lost}",
        )
    assert_error(refused, 7, "is running, in process", "Ctrl-C", "mlreg sweeps")
    assert deleted.stdout.split() == [damaged] and store.sweeps.ids() == [running]
    assert_error(resumed, 2, "not there any more", f"mlreg runs --discard {lost[-8:]}")


def test_a_sweep_whose_record_is_damaged_hides_no_other(registry):
    """It is named, with why it cannot be read."""
    damaged, sound = keep(Store(registry), made_sweep(3), made_sweep(4))
    (registry / "sweeps" / damaged / "sweep.json").write_text("{")
    listed, as_json, shown = lines_of(registry, "sweeps", "sweeps --json", f"show {damaged}")
    assert sound in listed.stdout and f"{damaged} cannot be read" in listed.stderr
    assert [*as_json.json["damaged"]] == [damaged]
    assert [each["id"] for each in as_json.json["sweeps"]] == [sound]
    assert shown.status == 6


def test_a_registry_without_sweeps_has_none_to_show(registry):
    """A line that names the registry; --json has an empty list."""
    shown, as_json = lines_of(registry.parent, "sweeps", "sweeps --json")
    assert (shown.status, shown.stdout) == (0, "") and "No sweeps in" in shown.stderr
    assert as_json.json == {"schema": 1, "sweeps": [], "damaged": {}, "next": None}
