"""Every callback that Keras ships, never stopped against stopped and resumed; docs/callbacks.md.

A callback of a newer Keras fails here until it is tried and has its row.
"""

import importlib.util
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from resumed_fits import BETWEEN, WITHIN, Fits

pytestmark = pytest.mark.tensorflow

PAGE = Path(__file__).parents[2] / "docs" / "callbacks.md"
SAME = "same digest"


@pytest.fixture(scope="module")
def monitor():
    """A server on this machine that remembers what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["Content-Length"])
            self.server.received.append(self.rfile.read(length).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *parts):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def averaging():
    import keras

    return keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.8)


def tried(own, root):
    """As each row of the page says: how it is made; more choices of the fit."""

    def slower(epoch, logs):
        callback.model.optimizer.learning_rate = 0.8 * float(callback.model.optimizer.learning_rate)

    callback = own.LambdaCallback(on_epoch_begin=slower)
    best = {"save_best_only": True, "save_weights_only": True}
    return {
        "BackupAndRestore": lambda run_dir: own.BackupAndRestore(str(run_dir / "backup")),
        "BackupAndRestore, save_freq=4": lambda run_dir: own.BackupAndRestore(
            str(run_dir / "backup"), save_freq=4
        ),
        "CSVLogger": lambda run_dir: own.CSVLogger(str(run_dir / "log.csv")),
        "CallbackList": lambda run_dir: own.CallbackList(
            [own.EarlyStopping("loss", patience=9), own.CSVLogger(str(run_dir / "log.csv"))]
        ),
        "EarlyStopping": lambda run_dir: own.EarlyStopping(
            "loss", patience=1, min_delta=1e9, restore_best_weights=True
        ),
        "History": lambda run_dir: own.History(),
        "LambdaCallback": lambda run_dir: callback,
        "LearningRateScheduler": lambda run_dir: own.LearningRateScheduler(
            lambda epoch, rate: rate * 0.7
        ),
        "ModelCheckpoint": lambda run_dir: own.ModelCheckpoint(
            str(run_dir / "best.weights.h5"), **best
        ),
        "ModelCheckpoint, save_freq=4": lambda run_dir: own.ModelCheckpoint(
            str(run_dir / "{epoch}-{batch}.keras"), save_freq=4
        ),
        "OrbaxCheckpoint": lambda run_dir: own.OrbaxCheckpoint(str(run_dir / "orbax")),
        "ProgbarLogger": lambda run_dir: own.ProgbarLogger(),
        "ReduceLROnPlateau": lambda run_dir: own.ReduceLROnPlateau(
            "loss", factor=0.5, patience=0, min_delta=10.0
        ),
        "RemoteMonitor": lambda run_dir: own.RemoteMonitor(root, send_as_json=True),
        "SwapEMAWeights": lambda run_dir: own.SwapEMAWeights(),
        "SwapEMAWeights, swap_on_epoch=True": lambda run_dir: own.SwapEMAWeights(True),
        "TensorBoard": lambda run_dir: own.TensorBoard(str(run_dir / "logs")),
        "TensorBoard, update_freq='batch'": lambda run_dir: own.TensorBoard(
            str(run_dir / "logs"), update_freq="batch"
        ),
        "TerminateOnNaN": lambda run_dir: own.TerminateOnNaN(),
    }


def rows() -> dict[str, list[str]]:
    """The page's table: callback -> the other cells."""
    found = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
            found[name.replace("`", "")] = cells
    return found


ROWS = rows()
TRIED = [name for name, cells in ROWS.items() if cells[0] == SAME]
# what needs a package that comes apart from Keras and TensorFlow
PACKAGES = {"TensorBoard": "tensorboard", "OrbaxCheckpoint": "orbax"}
ABSENT = [name for name, each in PACKAGES.items() if importlib.util.find_spec(each) is None]
HERE = [name for name in TRIED if name.partition(",")[0] not in ABSENT]


@pytest.fixture
def outcome(training, keras, monitor, tmp_path, monkeypatch):
    """What comes of a callback, whole and stopped at a place."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)

    def fits(name):
        root = f"http://127.0.0.1:{monitor.server_port}"
        make = tried(keras.callbacks, root)[name]
        optimizer = averaging if name.startswith("SwapEMAWeights") else None
        return Fits(
            training,
            tmp_path,
            callbacks=lambda run_dir: [make(run_dir)],
            optimizer=optimizer,
            run_eagerly=True,  # what a callback remembers needs no graph, which takes long to make
        )

    return fits


@pytest.mark.parametrize("name", PACKAGES)
def test_a_callback_without_its_package_says_what_is_missing(outcome, name):
    """Where the package is, its rows are tried like the others."""
    if name in ABSENT:
        with pytest.raises(Exception, match=r"TensorBoard is not installed|pip install"):
            outcome(name).whole()
    else:
        assert name in HERE


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("place", [WITHIN, BETWEEN], ids=["within", "between"])
def test_stopped_and_resumed_it_ends_in_the_same_weights(outcome, monitor, name, place):
    """Within an epoch and between two: digest, history, what it wrote and sent."""
    fits = outcome(name)
    del monitor.received[:]
    whole, sent = fits.whole(), list(monitor.received)
    del monitor.received[:]
    if name == "EarlyStopping" and place == BETWEEN:
        place = (1, 0)  # it stops training after the second epoch
    resumed = fits.resumed(place)
    assert resumed.warnings == whole.warnings == []
    assert resumed.history.not_repeatable == []
    assert resumed.history.metrics == whole.history.metrics
    assert resumed.digest == whole.digest
    assert monitor.received == sent
    if name.partition(",")[0] not in PACKAGES:  # theirs have times in them, and go later
        assert names(fits.run_dir(place)) == names(fits.run_dir())
    log = fits.run_dir() / "log.csv"
    assert not log.exists() or log.read_text() == (fits.run_dir(place) / log.name).read_text()
    assert (len(sent) == 3) == (name == "RemoteMonitor")


def test_the_page_names_callbacks_that_make_keras_run_one_batch_per_call(keras, tmp_path):
    """A callback that looks at no batch costs nothing."""
    from registry_core.training.callback_batching import uses_batch_hooks

    said = {
        name: cells[1]
        for name, cells in ROWS.items()
        if cells[1] in ("one", "several") and name.partition(",")[0] != "OrbaxCheckpoint"
    }
    make = tried(keras.callbacks, "")
    assert {name: uses_batch_hooks(make[name](tmp_path)) for name in said} == {
        name: words == "one" for name, words in said.items()
    }
    assert {*ROWS} - {*said} == {"CallbackList", "LambdaCallback", "OrbaxCheckpoint"}


def names(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_every_callback_that_keras_ships_has_its_row(keras):
    """And nothing else has; the page names the Keras that was tried."""
    own = keras.callbacks
    shipped = {
        name
        for name, each in vars(own).items()
        if isinstance(each, type) and issubclass(each, own.Callback) and each is not own.Callback
    }
    assert {name.partition(",")[0] for name in ROWS} == shipped
    assert set(TRIED) == set(tried(own, ""))
    (version,) = re.findall(r"Keras (3\.\d+)\.\d+", PAGE.read_text())
    assert keras.__version__.startswith(f"{version}.")


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_backup_of_another_run_is_not_loaded(training, keras, tmp_path):
    """BackupAndRestore would load it; the host decides where a run starts."""
    backup = str(tmp_path / "backup")

    def callbacks(run_dir):
        return [keras.callbacks.BackupAndRestore(backup, delete_checkpoint=False)]

    first = Fits(training, tmp_path, callbacks=callbacks).whole()
    (tmp_path / "again").mkdir()
    again = Fits(training, tmp_path / "again", callbacks=callbacks).whole()
    assert (again.digest, again.history.metrics) == (first.digest, first.history.metrics)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_log_has_the_rows_of_the_epochs_that_are_done(outcome):
    """Killed after a checkpoint, a run does epochs again: their rows are not there twice."""
    fits = outcome("CSVLogger")
    fits.whole()
    whole = (fits.run_dir() / "log.csv").read_text()
    rows = whole.splitlines(keepends=True)
    original = fits._fit

    def killed(checkpoints, run_dir, place, last=None):
        if last is not None:
            with (run_dir / "log.csv").open("a") as log:
                log.writelines(rows[2:])
        return original(checkpoints, run_dir, place, last)

    fits._fit = killed
    fits.resumed((1, 0))
    assert (fits.run_dir((1, 0)) / "log.csv").read_text() == whole
