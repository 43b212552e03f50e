"""`mlreg predict` with a backend that needs no TensorFlow: files, batches, what cannot be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest
from cli_helpers import without_roots_rights
from fakes import READS_FILES, TABLE_PLUGIN
from lifecycle_helpers import Project, hook

from registry_core.data.input_files import InputSource
from registry_core.errors import DataError, Interrupted, PluginError, UsageError
from registry_core.lifecycle.predict import Choices, joined, predict
from registry_core.lifecycle.reevaluate import spec_of_data

pytestmark = pytest.mark.drawn


class Reading(Project):
    """A project with one version, whose plugin can read files."""

    def __init__(self, folder, reads=READS_FILES, **extensions) -> None:
        super().__init__(folder, TABLE_PLUGIN + reads, **extensions)
        self.version = self.run()

    def batches(self, *paths, stdin=None, suffix="", manifest=None, **choices):
        manifest = manifest or self.manifest(self.version)
        return predict(
            self.version,
            manifest,
            spec_of_data(self.plugins, manifest).config,
            InputSource(paths, stdin, suffix),
            Choices(**choices),
            lambda version: {},
            self.context(),
        )

    def predict(self, *paths, **choices):
        return joined(self.batches(*paths, **choices))


@pytest.fixture
def project(tmp_path):
    return Reading(tmp_path)


def lines(path, *numbers):
    """A file with a line for each number, near which both measurements are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{number},{number}\n" for number in numbers))
    return path


def test_each_row_gets_the_best_classes_with_probabilities(project):
    """Names are the file's and the row's; the classes are in the order of their probabilities."""
    file = lines(project.folder / "new.csv", 0, 2)
    found = project.predict(file)
    assert [each.name for each in found] == [f"{file}:1", f"{file}:2"]
    assert [each.answer for each in found] == ["setosa", "virginica"]
    assert [belief.name for belief in found.predictions[1].classes] == [
        "virginica", "setosa", "versicolor",
    ]  # fmt: skip
    assert found.predictions[0].classes[0].score == pytest.approx(0.8)
    assert found.score == "probability"
    assert found.error is None
    assert len(project.store.ledger()) == 1  # nothing was written


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(project):
    """A file of words, one that is missing and an empty one do not stop the others."""
    good = lines(project.folder / "good.csv", 1)
    bad, empty = project.folder / "bad.csv", project.folder / "empty.csv"
    bad.write_text("a,b\n")
    empty.write_text("")
    found = project.predict(bad, good, project.folder / "none.csv", empty)
    assert [each.answer for each in found] == ["versicolor"]
    reasons = {each.name: each.why for each in found.unreadable}
    assert list(reasons) == [str(project.folder / "none.csv"), str(empty), str(bad)]
    assert reasons[str(bad)] == "ValueError: could not convert string to float: 'a'"
    assert reasons[str(empty)] == "It is empty."
    assert isinstance(found.error, DataError)
    assert found.error.what == "3 inputs could not be read; 1 example was predicted."
    assert len(project.observer.warnings) == 3


@pytest.mark.gate
def test_if_nothing_can_be_read_no_model_is_loaded(project):
    """TensorFlow need not start to say that a file is missing."""
    project.backend = None
    found = project.predict(project.folder / "none.csv")
    assert project.backend is None
    missing = project.folder / "none.csv"
    assert str(found.error).splitlines() == [
        f"Nothing was predicted: {missing} could not be read.",
        "There is no such file.",
        f"Try: ls -l {project.folder}",
    ]


def test_a_folder_is_read_in_order_without_hidden_and_other_files(project):
    """Its files are those whose names end as the plugin says, at any depth."""
    folder = project.folder / "new"
    for name in ("b.csv", "a/z.CSV", ".hidden.csv", ".git/x.csv", "notes.txt"):
        lines(folder / name, 0)
    (folder / "gone.csv").symlink_to(folder / "nowhere")
    found = project.predict(folder)
    assert [each.file for each in found] == [str(folder / "b.csv"), str(folder / "a/z.CSV")]
    assert [each.name for each in found.unreadable] == [str(folder / "gone.csv")]


@pytest.mark.gate
def test_a_folder_without_files_to_read_is_named(project):
    (project.folder / "new").mkdir()
    found = project.predict(project.folder / "new")
    assert [each.why for each in found.unreadable] == ["The folder has no file that ends in .csv."]


@pytest.mark.gate
def test_many_files_are_read_and_predicted_in_batches(project):
    """A batch holds as many examples as asked for, whether from one file or from many."""
    files = [lines(project.folder / f"{number}.csv", number % 3) for number in range(7)]
    batches = list(project.batches(*files, batch_size=3))
    assert [len(batch) for batch in batches if len(batch)] == [3, 3, 1]
    assert [batch.inputs.shape for batch in batches if len(batch)] == [(3, 2), (3, 2), (1, 2)]
    assert project.observer.rounds[-1] == ("Predicting", 7, 7)
    whole = lines(project.folder / "whole.csv", *(number % 3 for number in range(7)))
    assert [len(batch) for batch in project.batches(whole, batch_size=3)] == [0, 3, 3, 1]
    assert joined(batches).predictions == project.predict(*files).predictions
    assert project.observer.said.count("lines are flowers") == 3  # once for each command


def test_standard_input_is_read_as_the_plugin_reads_its_first_kind(project):
    """It is copied to a file that ends as the plugin's files do, or as the user says."""
    file = lines(project.folder / "typed", 2, 1)
    with file.open("rb") as stdin:
        found = project.predict("-", stdin=stdin)
    assert [(each.name, each.answer) for each in found] == [
        ("stdin:1", "virginica"), ("stdin:2", "versicolor"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="named twice"), file.open("rb") as stdin:
        project.predict("-", "-", stdin=stdin)


@pytest.mark.gate
def test_a_pipe_is_read_once_and_whole(project):
    """A plugin that reads a file twice, as after an error, finds it there again."""
    pipe = project.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("1,1\n2,2\n",))
    writer.start()
    found = project.predict(pipe, project.folder / "none")
    writer.join()
    assert [each.answer for each in found] == ["versicolor", "virginica"]


def test_waiting_for_a_pipe_ends_when_a_signal_asks_to_stop(project):
    """Ctrl-C ends the wait for a writer that never comes."""
    pipe = project.folder / "pipe"
    os.mkfifo(pipe)
    project.stop.signum = 2
    with pytest.raises(Interrupted):
        project.predict(pipe)


@pytest.mark.gate
def test_inputs_of_another_shape_are_refused_with_what_was_expected(project):
    """The record says what the model takes; a file of three columns is named, not predicted."""
    file = project.folder / "three.csv"
    file.write_text("1,2,3\n4,5,6\n7,8,9\n10,11,12\n")
    reads = hook(
        "mlreg_inputs",
        "import numpy as np\n    return np.stack([np.loadtxt(p, delimiter=',') for p in paths])",
        "paths",
    )
    project.change_plugin(("@hookimpl\ndef mlreg_model", f"{reads}\n\n@hookimpl\ndef mlreg_model"))
    found = project.predict(file)
    (lost,) = found.unreadable
    assert lost.why == (
        "The model takes inputs as float32 of shape (2,), and this is float64 of shape (4, 3). "
        "Give a file of the kind that the model was trained on."
    )


def test_a_plugin_without_the_hook_says_what_to_add(project):
    """It is an error of the plugin, before anything is read."""
    project.change_plugin()
    with pytest.raises(PluginError, match="it has no mlreg_inputs") as caught:
        project.predict(project.folder / "new.csv")
    assert "mlreg_inputs(paths, config)" in caught.value.remedy


@pytest.mark.gate(keep=1)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return missing_name", "missing_name"),
        ("return [1, 2, 3]", "not a NumPy array"),
        ("import numpy\n    return numpy.zeros((5, 2), 'float32')", "5 examples for 2 files"),
        ("return None", "has no mlreg_inputs"),
    ],
)
def test_a_bug_of_the_plugin_is_not_taken_for_unreadable_files(tmp_path, body, said):
    """No file is at fault where a name is not defined, or an array is missing."""
    project = Reading(tmp_path, hook("mlreg_inputs", body, "paths"))
    files = [lines(tmp_path / f"{number}.csv", 1) for number in range(2)]
    with pytest.raises(PluginError, match=said):
        project.predict(*files)


@pytest.mark.gate
def test_the_hook_gets_the_recorded_settings_and_signature(tmp_path):
    """Not those of today's preset."""
    reads = hook(
        "mlreg_inputs",
        "import numpy as np\n    progress.say(f'{config.units} {signature}')\n"
        "    return np.ones((len(paths), 2), 'float32')",
        "paths, config, signature, progress",
    )
    project = Reading(tmp_path, reads)
    project.version = project.run(overrides={"units": 5})
    found = project.predict(lines(tmp_path / "x", 0))
    assert "5 {'dtype': 'float32', 'shape': [2]}" in project.observer.said
    assert [each.name for each in found] == [str(tmp_path / "x")]  # no row: the file is one example


def test_rows_that_cannot_be_read_are_named_and_the_file_goes_on(tmp_path):
    """A plugin may give up single rows of a table."""
    reads = hook(
        "mlreg_inputs",
        "import numpy as np\n    from registry_core import Examples\n"
        "    return Examples(np.ones((2, 2), 'float32'), [2], ['1', '3'],"
        " [(paths[0], '2', 'No number.')])",
        "paths",
    )
    project = Reading(tmp_path, reads)
    found = project.predict(lines(tmp_path / "x.csv", 0))
    assert [each.row for each in found] == ["1", "3"]
    assert found.unreadable[0].name == f"{tmp_path / 'x.csv'}:2"


@pytest.mark.gate
def test_names_with_line_breaks_stay_what_they_are(project):
    """What shows them escapes them."""
    file = lines(project.folder / "a\n<b>.csv", 1)
    assert project.predict(file).predictions[0].name == f"{file}:1"


@pytest.mark.gate
def test_no_file_and_senseless_numbers_are_refused(project):
    with pytest.raises(UsageError, match="No file is named"):
        project.predict()
    with pytest.raises(UsageError, match="top is 0"):
        project.predict("x", top=0)


def test_a_version_of_an_earlier_mlreg_predicts_too(project):
    """Its record has class names alone: neither a task nor what its inputs are."""
    manifest = json.loads(json.dumps(project.manifest(project.version)))
    del manifest["data"]["task"], manifest["data"]["splits"]["test"]["inputs"]
    found = project.predict(lines(project.folder / "new.csv", 2), manifest=manifest)
    assert [each.answer for each in found] == ["virginica"]


def test_a_file_that_may_not_be_read_is_named_with_the_command_that_shows_why(tmp_path):
    """Before a plugin sees it: to that, it would look damaged. The other files are found."""
    barred, read = tmp_path / "barred.csv", tmp_path / "read.csv"
    for file in (barred, read):
        file.write_text("1,2\n")
    barred.chmod(0)
    program = (
        "import sys; from pathlib import Path\n"
        "from registry_core.data.input_files import InputSource, find_files\n"
        "found, lost = find_files(InputSource(sys.argv[1:]), [], Path('none'), lambda: None)\n"
        "print([each.name for each in found], [(e.name, e.why, e.command) for e in lost])\n"
    )
    words = [*without_roots_rights(), sys.executable, "-c", program, str(barred), str(read)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    said = [(str(barred), "Permission denied.", f"ls -l {tmp_path}")]
    assert done.stdout == f"{[str(read)]} {said}\n"
