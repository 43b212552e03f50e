"""The TensorBoard log of a run: what Keras's callback writes, and each point once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from checkpoint_helpers import InFolder, Nowhere
from cli_helpers import in_turn
from example_projects import example_project
from resumed_fits import BETWEEN, EPOCHS, WITHIN, Fits

from registry_core.errors import Interrupted

pytestmark = pytest.mark.tensorflow


def points(log: Path) -> Counter[tuple[str, str, int, float]]:
    """(folder, tag, step, value) of every scalar that is in the files, however often it is there.

    TensorBoard itself hides points that a later file repeats.
    """
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    found: Counter[tuple[str, str, int, float]] = Counter()
    for file in sorted(log.rglob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.tag.startswith(("epoch_", "evaluation_")):
                    number = float(tensor_util.make_ndarray(value.tensor))
                    found[file.parent.name, value.tag, event.step, number] += 1
    return found


@pytest.fixture(scope="module")
def logged(training, tmp_path_factory):
    """Fits with a log, and what one has written that was never stopped."""
    folder = tmp_path_factory.mktemp("logged")
    fits = Fits(training, folder, logged=True)
    return fits, fits.whole(), points(fits.run_dir() / "log")


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_log_is_that_of_keras_and_the_run_is_the_same_without_it(training, tmp_path, logged):
    """The same tags, steps and values as the callback writes, and bit for bit the same weights."""
    import keras

    def callbacks(run_dir):
        return [keras.callbacks.TensorBoard(str(run_dir / "log"))]

    _, ours, written = logged
    (tmp_path / "without").mkdir()
    of_keras = Fits(training, tmp_path, callbacks=callbacks)
    without = Fits(training, tmp_path / "without")
    assert ours.digest == of_keras.whole().digest == without.whole().digest
    assert points(of_keras.run_dir() / "log") == written
    assert set(written.values()) == {1}
    steps = {step for folder, tag, step, _ in written if (folder, tag) == ("train", "epoch_loss")}
    assert steps == set(range(EPOCHS))


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "places", [(WITHIN,), (BETWEEN,), (WITHIN, BETWEEN)], ids=["within", "between", "twice"]
)
def test_a_resumed_run_has_every_point_once(logged, places):
    """Stopped within an epoch, between two, or both: the same points, and the same weights."""
    fits, whole, written = logged
    resumed = fits.resumed(*places)
    assert resumed.digest == whole.digest
    assert points(fits.run_dir(*places) / "log") == written
    assert resumed.warnings == whole.warnings


@pytest.mark.exhaustive
@pytest.mark.gate
def test_what_was_written_after_the_checkpoint_is_not_there_twice(training, tmp_path, logged):
    """A killed run leaves events that no checkpoint knows: they are cut off."""
    fits = Fits(training, tmp_path, logged=True)
    run_dir, checkpoints = tmp_path / "run", InFolder(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    run_dir.mkdir()
    with pytest.raises(Interrupted):
        fits._fit(checkpoints, run_dir, BETWEEN)
    (file,) = (run_dir / "log" / "train").iterdir()
    with file.open("ab") as stream:
        stream.write(file.read_bytes())
    (file.parent / "events.out.tfevents.9.later").write_bytes(file.read_bytes())
    fits._fit(checkpoints, run_dir, None, BETWEEN)
    assert points(run_dir / "log") == logged[2]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_log_that_was_removed_begins_anew_with_a_warning(training, tmp_path, logged):
    """The run goes on, and its log has the epochs that follow."""
    fits = Fits(training, tmp_path, logged=True)
    run_dir, checkpoints = tmp_path / "run", InFolder(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    run_dir.mkdir()
    with pytest.raises(Interrupted):
        fits._fit(checkpoints, run_dir, BETWEEN)
    for file in (run_dir / "log").rglob("events*"):
        file.unlink()
    ended = fits._fit(checkpoints, run_dir, None, BETWEEN)
    (warning,) = [each for each in ended.warnings if "TensorBoard" in each]
    assert "lacks epochs" in warning
    assert ended.digest == logged[1].digest
    assert set(points(run_dir / "log")) < set(logged[2])


@pytest.mark.gate
def test_a_log_that_cannot_be_written_stops_no_run(training, tmp_path, logged):
    fits = Fits(training, tmp_path, logged=True)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "log").write_text("a file where the folder should be")
    ended = fits._fit(Nowhere(), run_dir, None)
    (warning,) = [each for each in ended.warnings if "TensorBoard" in each]
    assert "cannot be written" in warning
    assert ended.digest == logged[1].digest


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_a_run_that_was_stopped_continues_its_log_beside_an_extension_that_logs_too(tmp_path):
    """Ctrl-C after the second epoch, then `mlreg resume`: each epoch once, in both logs."""
    example_project(tmp_path, "spirals", "tensorboard", pause_after=1)
    run = ["run", "spirals", "-p", "epochs=4", "--tensorboard", "logs", "-q"]
    stopped, done = in_turn([run, ["resume", "-q"]], cwd=tmp_path, keras=True)
    assert (stopped.status, done.status) == (130, 0), done.stderr
    (folder,) = (tmp_path / "logs" / "spirals").iterdir()
    assert len([*folder.glob("train/events.out.tfevents.*")]) == 2
    written = points(folder)
    assert set(written.values()) == {1}
    for name, tag in (("train", "epoch_loss"), ("validation", "epoch_accuracy")):
        assert sorted(p[2] for p in written if p[:2] == (name, tag)) == [0, 1, 2, 3]
