"""What callbacks wrote into run_dir is there when the run is resumed: complete runs, with Keras."""

from __future__ import annotations

import json

import pytest
from cli_helpers import in_turn
from fakes import write_plugin, write_settings

from registry_core.store import Store

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes]

# The best weights on disk, loaded at the end; a learning rate that makes an early epoch the best.
PLUGIN = """
import signal

from registry_core import ArraySplit, DataSplits, RunConfig, hookimpl


class Config(RunConfig):
    stops: list[str] = []  # signals, as `epoch:batch` or `epoch:end`
    breaks: bool = False  # once, at the end of the first epoch


@hookimpl
def mlreg_presets():
    return {"tiny": Config(epochs=5, batch_size=500)}


@hookimpl
def mlreg_dataset():
    import numpy as np

    def draw(examples, seed):
        inputs = np.random.default_rng(seed).normal(size=(examples, 8)).astype("float32")
        return ArraySplit(inputs, (inputs[:, 0] > 0).astype("int64") + (inputs[:, 1] > 0))

    return DataSplits(draw(2000, 1), draw(100, 2), draw(50, 3), ("a", "b", "c"))


@hookimpl
def mlreg_model():
    import keras

    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.5), loss, metrics=["accuracy"])
    return model


@hookimpl
def mlreg_callbacks(config, run_dir):
    import os

    import keras

    found = sorted(file.name for file in run_dir.rglob("*.h5"))
    print("FOUND", found, flush=True)

    class BestAtEnd(keras.callbacks.ModelCheckpoint):
        def on_train_end(self, logs=None):
            super().on_train_end(logs)
            self.model.load_weights(self.filepath)

    class Stop(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.left = list(config.stops)  # of the whole run: a checkpoint has it

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            self.stop_at(f"{self.epoch}:{batch}")

        def on_epoch_end(self, epoch, logs=None):
            self.stop_at(f"{epoch}:end")
            if config.breaks and not os.path.exists("broken"):
                open("broken", "w").close()
                raise RuntimeError("broken")

        def stop_at(self, place):
            if place in self.left:
                self.left.remove(place)
                os.kill(os.getpid(), signal.SIGTERM)

    where = run_dir / "best"
    where.mkdir(exist_ok=True)
    kept = {"monitor": "val_loss", "save_best_only": True, "save_weights_only": True}
    return [BestAtEnd(str(where / "best.weights.h5"), **kept), Stop()]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    write_plugin(folder, "toy", PLUGIN)
    write_settings(folder, {"toy": "toy"}, registry="registry")
    return folder


RUN = ["run", "toy", "-q"]
STOPS = {
    "within an epoch": ["3:1"],  # it has four batches, done by two at once
    "between epochs": ["3:end"],
    "before there are weights": ["0:1"],
    "with nothing left but to load them": ["4:end"],
    "again and again": ["0:1", "0:end", "2:3", "3:end", "4:1", "4:end"],
}


@pytest.fixture(scope="module")
def whole(project):
    """The manifest of a run that was never stopped, and what its callbacks found."""
    (done,) = in_turn([RUN], cwd=project, keras=True)
    assert done.status == 0, done.stderr
    return manifest(project), found(done)


def manifest(project):
    """Of the newest version; nothing else is left."""
    store = Store(project / "registry")
    assert store.unfinished_runs() == []
    assert list((project / "registry" / "runs").iterdir()) == []
    return store.manifest(store.versions("toy", limit=1)[0])


def found(*done):
    """What the callbacks found in run_dir, each time that a command made them."""
    lines = [line for each in done for line in each.stderr.splitlines()]
    return [line.removeprefix("FOUND ") for line in lines if "FOUND" in line]


NOTHING, BEST = "[]", "['best.weights.h5']"


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("name", STOPS)
def test_a_resumed_run_with_its_best_weights_on_disk_ends_as_if_never_stopped(project, whole, name):
    """The weights of the best epoch; callbacks find what they wrote where a run goes on."""
    places = STOPS[name]
    lines = [[*RUN, "-p", f"stops={json.dumps(places)}"], *(["resume", "-q"] for _ in places)]
    done = in_turn(lines, cwd=project, keras=True)
    assert [each.status for each in done] == [143] * len(places) + [0], done[-1].stderr
    resumed, (never_stopped, found_by_whole) = manifest(project), whole
    assert (never_stopped["resumed"], resumed["resumed"]) == (0, len(places))
    assert resumed["weights"] == never_stopped["weights"]
    losses = never_stopped["history"]["val_loss"]
    assert min(losses) < losses[-1]  # else the last weights would do
    # stopped in the first epoch, there is a checkpoint and no weights yet
    first = NOTHING if places[0] == "0:1" else BEST
    assert found_by_whole == [NOTHING]
    assert found(*done) == [NOTHING, first, *(BEST for _ in places[1:])]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_run_that_broke_before_its_first_checkpoint_begins_anew_if_named(project):
    """In an empty folder."""
    broken, unnamed = in_turn([[*RUN, "-p", "breaks=true"], ["resume", "-q"]], project, keras=True)
    (run,) = Store(project / "registry").unfinished_runs()
    (mended,) = in_turn([["resume", run.id, "-q"]], project, keras=True)
    assert broken.status == 3
    assert unnamed.status == 2
    assert "have no checkpoint: start them again, or name one" in unnamed.stderr
    assert mended.status == 0
    assert found(broken, mended) == [NOTHING, NOTHING]
    assert manifest(project)["resumed"] == 0
