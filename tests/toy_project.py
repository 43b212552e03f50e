"""A Keras project whose layer, activation, schedule, loss and metric are the plugin's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli_helpers import keras_mlreg, keras_python
from fakes import write_plugin, write_settings

PLUGIN = """
from registry_core import ArraySplit, DataSplits, RunConfig, hookimpl


@hookimpl
def mlreg_presets():
    return {"tiny": RunConfig(epochs=1)}


@hookimpl
def mlreg_dataset(config):
    import numpy as np

    def split(count, seed):
        x = np.random.default_rng(seed).normal(size=(count, 8)).astype("float32")
        return ArraySplit(x, (x[:, 0] > 0).astype("int64"))

    return DataSplits(split(60, 1), split(30, 2), None, ("a", "b"))


@hookimpl
def mlreg_model(config):
    import building

    return building.model()
"""

# imported late, by a hook; what registers the classes is imported later still
BUILDING = """
import keras
import parts
from more import losses


def model():
    made = keras.Sequential([
        keras.Input((8,)), parts.Scaling(), keras.layers.Dense(4, activation=parts.bent),
        keras.layers.Dense(2),
    ])
    optimizer = keras.optimizers.SGD(parts.Slowing())
    made.compile(optimizer, losses.Doubled(), metrics=["accuracy", losses.mean_answer])
    return made
"""

PARTS = """
import keras
print("parts is imported")


@keras.saving.register_keras_serializable("toy")
class Scaling(keras.layers.Layer):
    def call(self, inputs):
        return 3 * inputs


@keras.saving.register_keras_serializable("toy")
def bent(inputs):
    return keras.ops.maximum(inputs, 0.1 * inputs)


@keras.saving.register_keras_serializable("toy")
class Slowing(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1

    def get_config(self):
        return {}
"""

LOSSES = """
import keras


@keras.saving.register_keras_serializable("toy")
class Doubled(keras.losses.Loss):
    def call(self, true, answered):
        return 2 * keras.losses.sparse_categorical_crossentropy(true, answered, from_logits=True)


@keras.saving.register_keras_serializable("toy")
def mean_answer(true, answered):
    return keras.ops.mean(answered, axis=-1)
"""

# Runs command lines and programs in one process, each with none of the plugin's code imported.
IN_TURN = """
import contextlib, io, json, sys
from pathlib import Path
from registry_core.cli import run_command

told = []
for words in json.load(sys.stdin):
    for name in {"building", "parts", "more", "more.losses", "plugin"} & set(sys.modules):
        del sys.modules[name]
    if "keras" in sys.modules:
        sys.modules["keras"].saving.get_custom_objects().clear()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if words[0] == "python":
            status = 0
            try:
                exec(words[1])
            except Exception as error:
                status = getattr(error, "exit_status", 1)
                print(error)
        else:
            status = run_command(words)
    told.append([status, out.getvalue(), err.getvalue()])
json.dump(told, sys.__stdout__)
"""


def make_project(folder: Path) -> Path:
    """Write the project into a folder, and train its first version, `toy@1`."""
    texts = {"plugin": PLUGIN, "building": BUILDING, "parts": PARTS, "more.losses": LOSSES}
    for module, text in texts.items():
        write_plugin(folder, module, text)
    write_settings(folder, {"toy": "plugin"}, registry="registry")
    done = keras_mlreg("run", "toy", "-q", cwd=folder)
    assert done.status == 0, done.stderr
    return folder


def run_all(lines: Sequence[Sequence[str]], cwd: Path, home: Path) -> list[Any]:
    """Run command lines and programs in one process; status, stdout and stderr of each."""
    done = keras_python("-c", IN_TURN, cwd=cwd, given=json.dumps(lines), MLREG_HOME=str(home))
    assert done.status == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found
