"""One model on several devices. Two logical devices of the processor stand for two GPUs.

TensorFlow makes them before its first operation, so each test is a process of its own.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli_helpers import keras_python

from registry_core.errors import UsageError

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes]

# Makes two devices, which the trainer takes for GPUs, and prints JSON.
BEGIN = f"""
import json, sys, tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from registry_core import training
from registry_core.training import callback_batching, trainer
import keras, numpy as np, tensorflow as tf
from resumed_fits import Fits

(processor,) = tf.config.list_physical_devices("CPU")
one = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(processor, [one, one])
trainer.gpu_devices = lambda gpus: [f"CPU:{{number}}" for number in range(gpus)]
callback_batching.EXAMPLES_PER_CALL = 1
on = lambda gpus: SimpleNamespace(KerasTrainer=partial(training.KerasTrainer, gpus=gpus))
folder = Path(tempfile.mkdtemp())
"""

WHOLE = """
import os
from example_projects import example_project, manifest_of
from registry_core import running
from registry_core.cli import run_command

store = example_project(folder, "spirals")
os.chdir(folder)
running.load_backend = lambda config, gpus=2: training.KerasBackend(config, gpus)
stdout, sys.stdout = sys.stdout, sys.stderr
ended = run_command("run spirals -p epochs=2 -q".split())
sys.stdout = stdout
print(manifest_of(store, "spirals", 1)["environment"]["gpus"], ended, file=sys.stderr)
sys.exit(ended or run_command("reproduce spirals@1 --json -q".split()))
"""

# A batch of 8 is divided into 4 and 4, the last one of an epoch, of 6, into 3 and 3.
RESUMED = """
seen = []

class Looking(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        layers = {type(each).__name__: each for each in self.model.layers}
        moving = layers["BatchNormalization"].moving_mean.value.values
        seeds = layers["Dropout"].seed_generator.state.value.values
        seen.append({
            "devices": [each.device[-5:] for each in moving],
            "own statistics": epoch > 0 and not np.array_equal(moving[0], moving[1]),
            "own seeds": not np.array_equal(seeds[0], seeds[1]),
        })

fits = Fits(
    on(2), folder, layers=lambda: [keras.layers.BatchNormalization()],
    callbacks=lambda run_dir: [Looking()], settings={"batch_size": 8},
)
whole = fits.whole()
again = [fits.resumed((1, 2), (2, 0))]
training.save_model(whole.model, folder / "model.keras")
loaded = training.load_model(folder / "model.keras")
print(json.dumps({
    "seen": seen[:2],
    "digests": [each.digest for each in (whole, *again)],
    "histories": [each.history.metrics for each in (whole, *again)],
    "warnings": [each.warnings for each in (whole, *again)],
    "types": sorted({type(each.value).__name__ for each in whole.model.variables}),
    "loaded": all(map(np.array_equal, whole.model.get_weights(), loaded.get_weights())),
}))
"""

EQUAL = """
sgd = lambda: keras.optimizers.SGD(0.1, momentum=0.9)
weights = []
for gpus in (1, 2):
    class Even(keras.Sequential):
        def __init__(self, layers):
            super().__init__([each for each in layers if "drop" not in each.name])

    (folder / str(gpus)).mkdir()
    fits = Fits(
        on(gpus), folder / str(gpus), optimizer=sgd, model_class=lambda: Even,
        settings={"batch_size": 10},
    )
    weights.append([each.tolist() for each in fits.whole().model.get_weights()])
print(json.dumps(weights))
"""


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_resumed_fit_on_two_devices_ends_as_the_one_never_stopped():
    """Weights and history are equal to the bit, and the model is an ordinary one afterwards."""
    done = keras_python("-c", BEGIN + RESUMED)
    assert done.status == 0, done.stderr
    told = done.json
    assert told["seen"] == [
        {"devices": ["CPU:0", "CPU:1"], "own statistics": later, "own seeds": True}
        for later in (False, True)
    ]
    assert len(set(told["digests"])) == 1
    assert told["histories"][1:] == told["histories"][:1]
    assert told["warnings"] == [[], []]
    assert told["types"] == ["ResourceVariable"]
    assert told["loaded"]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_version_of_two_devices_is_registered_and_reproduced():
    """Evaluated, saved and loaded on one of them; trained again, it is identical."""
    done = keras_python("-c", BEGIN + WHOLE)
    assert done.status == 0, done.stderr
    assert "2 0" in done.stderr.splitlines()
    assert done.json["verdict"] == "identical"


@pytest.mark.gate
def test_two_devices_learn_what_one_learns_from_the_same_batches():
    """But for the order in which numbers are added."""
    done = keras_python("-c", BEGIN + EQUAL)
    assert done.status == 0, done.stderr
    alone, spread = done.json
    for ours, theirs in zip(spread, alone, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("gpus", "examples", "batch", "refused", "works"),
    [
        (2, 30, 5, "5 examples cannot be divided equally among 2 GPUs", "batch_size=4"),
        (4, 30, 2, "2 examples cannot be divided equally among 4 GPUs", "batch_size=16"),
        (2, 31, 10, "has 1 of 31 examples, too few for 2 GPUs", "batch_size=12"),
        (3, 34, 15, "has 4 of 34 examples, too few for 3 GPUs", "batch_size=18"),
    ],
)
def test_a_batch_that_leaves_a_gpu_without_its_part_is_refused(
    training, gpus, examples, batch, refused, works
):
    """With a batch size that works."""
    from registry_core.training.replicas import Replicas

    devices = [f"GPU:{number}" for number in range(gpus)]
    with pytest.raises(UsageError, match=refused) as caught:
        Replicas(devices).check_batches(examples, batch)
    assert caught.value.command == f"-p {works}"
    Replicas(devices).check_batches(examples, int(works.partition("=")[2]))
    Replicas().check_batches(examples, batch)


def test_an_optimizer_that_accumulates_gradients_is_refused_on_several_gpus(training, keras):
    """Keras 3.15 fails at it, deep in its training step."""
    from registry_core.training.replicas import Replicas

    inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    outer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    two = Replicas(["GPU:0", "GPU:1"])
    two.check_optimizer(outer)
    Replicas().check_optimizer(inner)
    with pytest.raises(UsageError, match="accumulates gradients, which Keras cannot do on 2 GPUs"):
        two.check_optimizer(inner)


def test_the_parts_of_a_batch_are_told(training):
    from registry_core.training.replicas import Replicas

    told = Replicas(["GPU:0", "GPU:1"]).line(64)
    assert told == "2 GPUs: each trains on 32 of the 64 examples of a batch"


def test_fewer_gpus_than_asked_for_are_refused(training, monkeypatch):
    """Before any data is loaded into memory."""
    from registry_core.config import RunConfig
    from registry_core.training import replicas

    gpu = SimpleNamespace(name="GPU:0")
    for found, told in (([], "finds no GPU"), ([gpu], "finds 1 GPU")):
        monkeypatch.setattr(replicas.tf.config, "list_physical_devices", lambda kind, f=found: f)
        with pytest.raises(UsageError, match=rf"--gpus 2: TensorFlow {told} on this machine"):
            training.KerasTrainer(RunConfig(), gpus=2)
