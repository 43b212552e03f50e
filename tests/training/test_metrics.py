"""Metrics with one value, with several, and with values that are not finite."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder

from registry_core.config import RunConfig
from registry_core.errors import PluginError, TrainingError
from registry_core.process.interrupts import StopRequest
from registry_core.types import ArraySplit, Assembly, DataSplits

pytestmark = pytest.mark.tensorflow

NAMES = ("setosa", "versicolor", "virginica")


def split(examples: int, seed: int) -> ArraySplit:
    random = np.random.default_rng(seed)
    classes = np.arange(examples) % 3
    inputs = random.normal(classes[:, None] - 1, 0.3, (examples, 2)).astype("float32")
    return ArraySplit(inputs, np.eye(3, dtype="float32")[classes])


DATA = DataSplits(split(22, 0), split(12, 1), split(7, 2), NAMES)


@pytest.fixture(scope="module")
def made():
    """Metrics of a plugin's own: what `result` gives is asked of a function of the mean target."""
    import keras

    from registry_core import training

    class Own(keras.metrics.Mean):
        def __init__(self, result, name="own"):
            super().__init__(name=name)
            self._answer = result

        def update_state(self, expected, answered, sample_weight=None):
            super().update_state(expected)

        def result(self):
            return self._answer(super().result())

    class Trained:
        def __init__(self, *metrics, observer=None, stop=None):
            self.trainer = training.KerasTrainer(RunConfig(epochs=2, batch_size=11))
            self.observer = observer or Recorder()
            self.model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            self.model.compile(keras.optimizers.SGD(0.01), loss, metrics=["accuracy", *metrics])
            self.model.run_eagerly = True  # graphs take long to make
            self.assembly = Assembly(DATA, self.model, None, None, [])

        def fit(self):
            return self.trainer.fit(self.assembly, self.observer, StopRequest(), Nowhere())

        def evaluate(self):
            return self.trainer.evaluate(self.model, self.model, DATA.test)

    return Own, Trained


PARTS = ("f1_score_0", "f1_score_1", "f1_score_2", "high", "low", "own_0_0", "own_0_1")


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_metric_of_several_values_is_named_by_its_parts(made):
    """F1Score, a dict, a matrix: in the history, the live view and the evaluation."""
    import keras

    own, train = made
    trained = train(
        keras.metrics.F1Score(),
        own(lambda mean: {"low": mean, "high": mean + 1}, "pair"),
        own(lambda mean: keras.ops.stack([[mean, -mean]])),
        keras.metrics.F1Score(average="macro", name="macro"),
        own(lambda mean: keras.ops.reshape(mean, (1,)), "alone"),
    )
    history = trained.fit()
    names = {"loss", "accuracy", "macro", "alone", *PARTS}
    assert set(history.metrics) == {*names, *(f"val_{name}" for name in names), "learning_rate"}
    assert all(type(each) is float for values in history.metrics.values() for each in values)
    for _, measured in trained.observer.batches:
        assert set(measured) == {*names, "learning_rate"}
        assert all(type(each) is float for each in measured.values())
    evaluation = trained.evaluate()
    assert set(evaluation.metrics) == names
    # against Keras's own numbers
    keras_says = trained.model.evaluate(DATA.test.inputs, DATA.test.targets, verbose=0)
    f1 = np.asarray(keras_says[2])
    assert [evaluation.metrics[f"f1_score_{n}"] for n in range(3)] == pytest.approx(f1)
    assert evaluation.metrics["macro"] == pytest.approx(f1.mean())
    assert evaluation.metrics["high"] == pytest.approx(evaluation.metrics["low"] + 1)


def test_a_metric_of_very_many_values_is_refused_before_training(made, tmp_path):
    """Each value would be a metric of the version, and have a figure of its own."""
    import keras

    own, train = made
    trained = train(own(lambda mean: keras.ops.ones((20, 20)), "confusion"))
    with pytest.raises(PluginError) as caught:
        trained.trainer.check(trained.assembly, tmp_path)
    assert "'confusion' has 400 values" in caught.value.what
    assert "mlreg_report" in caught.value.remedy


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_is_named_and_training_has_not_diverged(made, value):
    """If the loss is finite; after the epoch where it first occurs."""
    own, train = made
    trained = train(own(lambda mean: mean * 0 + value, "rare"))
    with pytest.raises(TrainingError) as caught:
        trained.fit()
    assert caught.value.exit_status == 5
    assert f"The metric rare is {value} after epoch 1, and the loss is fine" in caught.value.what
    assert "diverged" not in str(caught.value)
    assert "metrics=" in caught.value.remedy
    with pytest.raises(TrainingError) as caught:
        trained.evaluate()
    assert f"The metric rare is {value} on the test split" in caught.value.what
    assert "metrics=" in caught.value.remedy


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_part_that_is_not_finite_is_named(made):
    """By the name that it would have in the version."""
    import keras

    own, train = made
    trained = train(own(lambda mean: keras.ops.stack([mean, mean / 0]), "ratio"))
    with pytest.raises(TrainingError, match="The metric ratio_1 is inf after epoch 1"):
        trained.fit()


@pytest.mark.gate
def test_a_diverged_loss_is_reported_before_its_metrics(made):
    """Divergence is what happened."""
    _, train = made
    trained = train("mse")
    trained.model.set_weights([np.full(w.shape, np.nan) for w in trained.model.get_weights()])
    with pytest.raises(TrainingError, match="Training diverged: loss is nan in epoch 1"):
        trained.fit()
    with pytest.raises(TrainingError, match="When the model is evaluated, the loss is nan"):
        trained.evaluate()
