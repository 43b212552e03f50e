"""A version trained again from its record: what is said of it, and that nothing is written."""

from functools import partial

import pytest
from fakes import TABLE_PLUGIN, FakeBackend
from lifecycle_helpers import Project, Spoiling

from registry_core.errors import Interrupted, UsageError
from registry_core.lifecycle.reproduce import check_reproducible


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.gate
def test_the_same_again_is_identical_and_nothing_is_written(project):
    """Weights, history and metrics; the registry's files and its ledger stay as they were."""
    version = project.run(preset="quick", overrides={"units": 16, "seed": 5})
    before = sorted(project.store.folder.rglob("*")), project.store.ledger_head()
    found = project.reproduce(version)
    assert (found.verdict, list(found.drift), found.first_epoch) == ("identical", [], None)
    assert found.metrics == version.metrics
    assert found.weights == found.recorded_weights
    assert (found.comparison.p_value, found.why_not) == (1.0, "")
    assert (sorted(project.store.folder.rglob("*")), project.store.ledger_head()) == before
    assert project.store.unfinished_runs() == []
    record = found.to_json()
    assert (record["verdict"], record["version"]["ref"], record["drift"]) == (
        "identical", "flowers@1", [],
    )  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.gate
def test_it_is_trained_by_the_records_settings_whatever_the_presets_say_today(project):
    """And where the preset is gone."""
    version = project.run(preset="quick")
    text = TABLE_PLUGIN.replace('"quick"', '"swift"').replace("= 8", "= 99")
    (project.folder / "flowers_plugin.py").write_text(text)
    project.forget("flowers_plugin")
    found = project.reproduce(version)
    assert found.verdict == "identical"
    assert [(each.kind, each.what) for each in found.drift] == [("plugin", "flowers")]


@pytest.mark.gate
def test_a_setting_that_is_another_is_named(project):
    """The weights differ and the outputs do not, which the paired test calls noise."""
    found = project.reproduce(project.run(), overrides={"units": "16"})
    assert found.verdict == "within noise"
    assert [str(each) for each in found.drift] == ["setting units: 16, was 8"]
    assert found.weights != found.recorded_weights
    assert found.first_epoch is None


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(("swapped", "verdict"), [([0], "within noise"), (range(9), "different")])
def test_the_paired_test_tells_noise_from_a_difference(project, swapped, verdict):
    """One answer of twelve is noise, nine are not; the verdict comes with the test."""
    version = project.run()
    found = project.reproduce(version, backend=partial(Spoiling, swapped=swapped))
    assert found.verdict == verdict
    assert (found.comparison.p_value >= 0.05) == (verdict == "within noise")
    assert found.comparison.only_incumbent > 0
    assert found.to_json()["comparison"]["test"] == "exact McNemar"


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("losses", "epoch"),
    [([1.0, 0.5, 0.25], 3), ([2.0, 0.5, 1 / 3], 1), ([1.0, 0.5], 3), ([1.0, 0.5, 1 / 3, 0.25], 4)],
)
def test_the_first_epoch_that_differs_is_named(project, losses, epoch):
    """Also where one of the two ended sooner; the same weights do not make it identical."""
    version = project.run()
    same = project.store.manifest(version)["weights"]
    found = project.reproduce(version, backend=partial(Spoiling, digest=same, losses=losses))
    assert (found.verdict, found.first_epoch) == ("within noise", epoch)


@pytest.mark.gate
def test_other_data_cannot_be_compared_and_is_different(project):
    """The reason is given, and which splits changed."""
    version = project.run()
    (project.folder / "flowers_plugin.py").write_text(
        TABLE_PLUGIN.replace("default_rng(7)", "default_rng(8)")
    )
    project.forget("flowers_plugin")
    found = project.reproduce(version, backend=Spoiling)
    assert (found.verdict, found.comparison) == ("different", None)
    assert "different test splits" in found.why_not
    assert {(each.kind, each.what) for each in found.drift} == {
        ("data", "train split"), ("data", "test split"), ("data", "validation split"),
        ("plugin", "flowers"),
    }  # fmt: skip


@pytest.mark.gate
def test_a_record_without_answers_is_compared_by_its_bits_alone(project):
    version = project.run()
    assert project.reproduce(version, results=False).verdict == "identical"
    found = project.reproduce(version, backend=Spoiling, results=False)
    assert (found.verdict, found.comparison) == ("different", None)
    assert "no record of the answers" in found.why_not


@pytest.mark.gate
def test_an_imported_version_is_refused_with_the_way_on(project):
    """No record says how it was trained."""
    version = project.import_model()
    with pytest.raises(UsageError, match="was imported") as caught:
        check_reproducible(version, project.store.manifest(version))
    assert caught.value.command == f"mlreg evaluate {version.ref}"


@pytest.mark.gate
def test_a_version_without_a_digest_of_its_weights_is_refused_with_the_way_on(project):
    """One of an earlier mlreg; any other passes."""
    version = project.run()
    manifest = project.store.manifest(version)
    check_reproducible(version, manifest)
    del manifest["weights"]
    with pytest.raises(UsageError, match="no digest of its weights") as caught:
        check_reproducible(version, manifest)
    assert caught.value.command == "mlreg evaluate flowers@1"


@pytest.mark.gate
def test_a_signal_stops_it_and_nothing_was_changed(project):
    """130, and there is nothing to resume."""
    version = project.run()
    with pytest.raises(Interrupted) as caught:
        project.reproduce(version, backend=partial(FakeBackend, interrupt_at=(1, 0)))
    assert caught.value.outcome == "Nothing was changed."
    assert project.store.unfinished_runs() == []


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_version_that_was_resumed_is_reproduced_like_any_other(project):
    """Its record does not depend on where it was stopped."""
    stopped = project.stopped(backend=partial(FakeBackend, interrupt_at=(1, 0)))
    version = project.resume(stopped)
    assert project.store.manifest(version)["resumed"] == 1
    assert project.reproduce(version).verdict == "identical"
