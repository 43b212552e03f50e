"""Several inputs and outputs, texts and weights go through whole runs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nested_plugins import PLUGINS, project, stopping_backend

from registry_core.errors import Interrupted, UsageError
from registry_core.evaluation.per_example_results import OUTCOMES_FILE, PerExampleResults
from registry_core.exports import ExportRequest, export
from registry_core.lifecycle.assembly import load_data
from registry_core.lifecycle.reevaluate import evaluate, spec_of_data
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.model_import import examiner
from registry_core.records import MODEL_FILE

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def backend(training):
    return training.KerasBackend


@pytest.fixture(scope="module")
def registered(training, tmp_path_factory):
    """The project of each plugin and its version, made when it is asked for."""

    @cache
    def run(name):
        made = project(tmp_path_factory.mktemp("project"), name)
        return made, made.run(backend=training.KerasBackend)

    return run


@pytest.fixture
def load(training, tmp_path):
    """Reads a version's model."""

    def load(made, version):
        path = tmp_path / f"{version.model}-{version.version}.keras"
        return training.load_model(made.store.copy_out(version, MODEL_FILE, path))

    return load


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("name", PLUGINS)
def test_every_nesting_is_trained_registered_and_measured_again(name, backend, load, registered):
    """The mean loss of the examples is the registered loss; a second evaluation is identical."""
    made, version = registered(name)
    assert made.observer.warnings == []
    results = PerExampleResults.from_json(made.store.read(version, OUTCOMES_FILE))
    losses = np.frombuffer(results.losses, "<f4")
    assert losses.mean() == pytest.approx(version.metrics["test_loss"], rel=1e-5)
    recorded = made.recorded(version)
    spec = spec_of_data(made.plugins, recorded.manifest)
    again = evaluate(
        spec, recorded, "test", lambda version: load(made, version), made.context(backend)
    )
    assert again.verdict == "identical"


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize(
    "name", ["a stream of dicts", "inputs in a dict", "two outputs", "a stream with weights"]
)
def test_a_stopped_run_ends_with_the_same_weights(name, backend, tmp_path, monkeypatch):
    """Stopped within the second epoch; augmentation and dropout draw the same numbers."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 1)
    made = project(tmp_path, name)
    whole = made.run(backend=backend)
    stopped = made.stopped(Interrupted, backend=stopping_backend(2, 2))
    resumed = made.resume(stopped, backend=backend)
    for key in ("weights", "history", "metrics"):
        assert made.manifest(resumed)[key] == made.manifest(whole)[key]
    assert made.manifest(resumed)["resumed"] == 1


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("form", ["savedmodel", "keras", "h5"])
@pytest.mark.parametrize("name", ["inputs in a dict", "inputs in a tuple", "two outputs"])
def test_a_model_of_several_inputs_or_outputs_is_exported(name, form, registered, tmp_path):
    """The export was compared with the model; it takes and gives the same names."""
    import keras
    import tensorflow as tf

    load_export = tf.saved_model.load if form == "savedmodel" else keras.saving.load_model
    made, version = registered(name)
    request = ExportRequest(form, tmp_path / f"exported.{form}")
    path = export(made.store, version, request).path
    points, sizes = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    inputs = {
        "inputs in a dict": {"points": points, "sizes": sizes},
        "inputs in a tuple": [points, sizes],
        "two outputs": points,
    }[name]
    loaded = load_export(str(path))
    found = loaded.serve(inputs) if form == "savedmodel" else loaded(inputs)
    if name == "two outputs":
        assert {key: tuple(part.shape) for key, part in found.items()} == {
            "kind": (4, 3),
            "size": (4, 1),
        }
    else:
        assert tuple(found.shape) == (4, 3)


@pytest.mark.exhaustive
@pytest.mark.gate
def test_the_record_says_how_examples_are_nested(registered):
    """Inputs, targets and weights by name, as JSON."""
    made, version = registered("two outputs")
    test = json.loads(json.dumps(made.manifest(version)["data"]))["splits"]["test"]
    assert test["targets"] == {
        "kind": {"shape": [], "dtype": "int64"},
        "size": {"shape": [1], "dtype": "float32"},
    }
    assert "weights" not in test
    assert {"test_loss", "test_kind_loss", "test_size_loss", "test_kind_accuracy"} <= set(
        version.metrics
    )


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("name", ["two outputs", "inputs in a dict", "texts", "a stream of dicts"])
def test_a_model_of_several_inputs_or_outputs_can_be_imported(name, backend, load, tmp_path):
    """It is tried out on the first examples, in a file that needs no pickle, and evaluated."""
    made = project(tmp_path, name)
    version = made.run(backend=backend)
    spec, context = spec_from_preset(made.plugins), made.context(backend)
    data, model = load_data(spec, context), load(made, version)
    here = backend(spec.config)
    with examiner._examples(data, tmp_path) as (file, size):
        here.trial_run(model, Path(file))
        here.predict_examples(model, Path(file))
    assert size > 0
    loss = here.check_compatibility(model, data)
    assert loss == ("its own losses" if name == "two outputs" else f"its own {model.loss.name}")
    evaluation = here.evaluate(model, model, here.check_data(data).test)
    assert evaluation.metrics["loss"] == pytest.approx(version.metrics["test_loss"], rel=1e-6)


def test_a_model_with_other_inputs_or_outputs_cannot_be_imported(backend, tmp_path, keras):
    """With what the model has, and what the dataset has."""
    made = project(tmp_path, "two outputs")
    spec = spec_from_preset(made.plugins)
    data, here = load_data(spec, made.context(backend)), backend(spec.config)
    points = keras.Input((2,))
    outputs = [keras.layers.Dense(3)(points), keras.layers.Dense(1)(points)]
    model = keras.Model(points, outputs)
    with pytest.raises(UsageError, match="2 outputs and was saved without losses"):
        here.check_compatibility(model, data)
    model.compile(loss=["mse", "mse"])
    with pytest.raises(UsageError, match="2 outputs and the dataset's targets do not fit"):
        here.check_compatibility(model, data)
    model = keras.Model([points, keras.Input((1,))], outputs[0])
    with pytest.raises(UsageError, match="takes 2 inputs, but the dataset has one input"):
        here.check_compatibility(model, data)
