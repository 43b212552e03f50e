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


@pytest.fixture(scope="module")
def ended(project):
    """A run that was never stopped, five that were, and one that broke; in one process."""
    stops = (
        ["3:1"],  # within an epoch: it has four batches, done by two at once
        ["3:end"],  # between epochs
        ["0:1"],  # before there are any weights
        ["4:end"],  # with nothing left but to load them
        ["0:1", "0:end", "2:3", "3:end", "4:1", "4:end"],
    )
    lines = [RUN]
    for places in stops:
        lines.append([*RUN, "-p", f"stops={json.dumps(places)}"])
        lines += [["resume", "-q"] for _ in places]
    lines += [[*RUN, "-p", "breaks=true"], ["resume", "-q"]]
    done = in_turn(lines, cwd=project, keras=True)
    (broken,) = Store(project / "registry").unfinished_runs()
    named = ["resume", broken.id, "-q"]
    return [*lines, named], [*done, *in_turn([named], cwd=project, keras=True)]


@pytest.mark.gate
def test_a_resumed_run_with_its_best_weights_on_disk_ends_as_if_never_stopped(project, ended):
    """Within an epoch, between epochs, again and again: the weights of the best epoch."""
    lines, done = ended
    for words, each in zip(lines[:-3], done[:-3], strict=True):
        assert each.status in (0, 143), (words, each.stderr)
    store = Store(project / "registry")
    manifests = [store.manifest(version) for version in reversed(list(store.versions("toy")))]
    assert [manifest["resumed"] for manifest in manifests] == [0, 1, 1, 1, 1, 6, 0]
    assert len({manifest["weights"] for manifest in manifests}) == 1
    losses = manifests[0]["history"]["val_loss"]
    assert min(losses) < losses[-1]  # else the last weights would do
    assert store.unfinished_runs() == []
    assert list((project / "registry" / "runs").iterdir()) == []


@pytest.mark.gate
def test_callbacks_find_what_they_wrote_where_a_run_goes_on_and_nothing_where_it_begins(ended):
    """A run that broke before its first checkpoint begins anew if named, in an empty folder."""
    _, done = ended
    found = [line for each in done for line in each.stderr.splitlines() if "FOUND" in line]
    nothing, best = "FOUND []", "FOUND ['best.weights.h5']"
    once = [nothing, best]
    # stopped in the first epoch, there is a checkpoint and no weights yet
    first = [nothing, nothing]
    often = [*first, best, best, best, best, best]
    assert found == [nothing, *once, *once, *first, *once, *often, nothing, nothing]
    broken, unnamed, mended = done[-3:]
    assert broken.status == 3
    assert unnamed.status == 2
    assert "have no checkpoint: start them again, or name one" in unnamed.stderr
    assert mended.status == 0
