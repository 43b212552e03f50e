"""What the record says of a training, and the files of callbacks that its version keeps."""

import pytest
from fakes import TABLE_PLUGIN, FakeBackend
from lifecycle_helpers import Project, hook

from registry_core.errors import PluginError
from registry_core.formatting import epochs_of, training_facts
from registry_core.types import TrainingEnd

pytestmark = pytest.mark.drawn

KEEPING = TABLE_PLUGIN + hook(
    "mlreg_callbacks",
    "(run_dir / 'kept' / 'deep').mkdir(exist_ok=True)\n"
    "    (run_dir / 'kept' / 'deep' / 'log.csv').write_text('epoch\\n')\n"
    "    (run_dir / 'kept' / 'link').symlink_to('/etc/passwd')\n"
    "    (run_dir / 'best.h5').write_text('weights')\n"
    "    return []",
    "run_dir",
)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_ordinary_training_is_recorded_and_not_talked_about(tmp_path):
    """All epochs, the last one's weights; an imported model has no such record."""
    project = Project(tmp_path)
    assert project.manifest(project.run())["training"] == {
        "epochs": 3,
        "of": 3,
        "stopped_by": None,
        "weights_from_epoch": 3,
        "weights_changed_by": None,
        "phases": [],
    }
    assert not [line for line in project.observer.said if line.startswith("Trained")]
    assert "training" not in project.manifest(project.import_model())


@pytest.mark.parametrize(
    ("end", "epochs", "facts"),
    [
        (TrainingEnd("EarlyStopping: loss did not improve for 2 epochs", 1, "EarlyStopping"), 3,
         [("stopped by", "EarlyStopping: loss did not improve for 2 epochs"),
          ("weights", "of epoch 1, by EarlyStopping")]),
        (TrainingEnd("", None, "SwapEMAWeights"), 12,
         [("weights", "of no single epoch, by SwapEMAWeights")]),
    ],
)  # fmt: skip
def test_what_is_not_ordinary_is_told(end, epochs, facts):
    """In the words of `show` and of the end of a run."""
    training = {"epochs": epochs, "of": 12, **end.to_json()}
    assert training_facts(training) == facts
    assert epochs_of({"epochs": 1, "of": 1}) == "1 epoch"
    assert epochs_of(training) == ("12 epochs" if epochs == 12 else "3 of 12 epochs")


def test_files_in_kept_become_files_of_the_version(tmp_path):
    """With their sizes; links and the other files of run_dir do not."""
    project = Project(tmp_path, KEEPING)
    version = project.run()
    paths = [file.path for file in version.files]
    assert [path for path in paths if "kept" in path or "best" in path] == ["kept/deep/log.csv"]
    assert project.store.read(version, "kept/deep/log.csv") == b"epoch\n"
    (line,) = (line for line in project.observer.said if line.startswith("Kept from"))
    assert line == "Kept from the callbacks, 6 B: kept/deep/log.csv 6 B"


def test_kept_files_survive_a_stop(tmp_path):
    """What was written before it is a file of the version that the resumed run makes."""
    text = KEEPING.replace("write_text('epoch\\n')", "open('a').write('more\\n')")
    text = text.replace("(run_dir / 'kept' / 'link').symlink_to('/etc/passwd')", "pass")
    project = Project(tmp_path, text)
    version = project.resume(project.stopped())
    assert project.store.read(version, "kept/deep/log.csv") == b"more\nmore\n"


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ("[Phase('head', 1), Phase('all', 1)]", "have 1 + 1 epochs, and the run has 3"),
        ("[Phase('one', 4)]", "have 4 epochs, and the run has 3"),
        ("[Phase('one', 3, lambda: None)]", "prepare(model)"),
        ("[Phase('one', 3), 3]", "a list with 3 in it"),
        ("[Phase('one', 0), Phase('two', 3)]", "a name of its own, 1 or more epochs"),
        ("[Phase('one', 1), Phase('one', 2)]", "a name of its own, 1 or more epochs"),
        ("[Phase('one', 3, 'unfreeze')]", "prepare(model) or None"),
        ("3", "mlreg_phases of flowers returned int (3)"),
    ],
)
def test_phases_that_are_none_are_refused_before_training(tmp_path, phases, said):
    """By name, with what a phase is."""
    text = TABLE_PLUGIN + hook(
        "mlreg_phases", f"from mlreg import Phase\n    return {phases}", "config"
    )
    project = Project(tmp_path, text)
    error = project.refused(PluginError)
    assert said in f"{error.what} {error.remedy}"
    assert "fit" not in project.backend.calls


def test_phases_reach_the_backend_in_order(tmp_path):
    text = TABLE_PLUGIN + hook(
        "mlreg_phases", "from mlreg import Phase\n    return (Phase('a', 1), Phase('b', 2))"
    )
    project = Project(tmp_path, text)
    project.run()
    assert [(each.name, each.epochs) for each in project.backend.assembly.phases] == [
        ("a", 1),
        ("b", 2),
    ]
    assert isinstance(project.backend, FakeBackend)
