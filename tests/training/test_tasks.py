"""Every kind of task, from the dataset to the version's record, with Keras."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import TABLE_PLUGIN
from lifecycle_helpers import Project, hook

from registry_core.errors import DataError, PluginError
from registry_core.evaluation.figures import standard_figures
from registry_core.tasks import (
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
)
from registry_core.types import ArraySplit, DataSplits, StreamSplit

pytestmark = pytest.mark.tensorflow

# A task's data, its model and its loss, each as the plugin's text.
DATASET = """
    import numpy as np
    from mlreg import (
        ArraySplit, Classification, DataSplits, MultiLabel, Objective, Other, Regression,
        Segmentation,
    )

    def split(examples, seed):
        random = np.random.default_rng(seed)
        inputs = random.normal(0, 1, (examples, 4)).astype("float32")
        return ArraySplit(inputs, {targets})

    return DataSplits(split(40, 1), split(20, 2), task={task})"""

MODEL = """
    import keras

    model = keras.Sequential([keras.Input((4,)), *{layers}])
    model.compile(keras.optimizers.Adam(0.1), {loss}, metrics={metrics})
    return model"""


def project(folder, task, targets, layers, loss, metrics="None") -> Project:
    dataset = DATASET.format(task=task, targets=targets).strip()
    model = MODEL.format(layers=layers, loss=loss, metrics=metrics).strip()
    hooks = hook("mlreg_dataset", dataset) + hook("mlreg_model", model)
    return Project(folder, TABLE_PLUGIN + hooks)


@pytest.fixture(scope="module")
def keras_backend():
    from registry_core.training import KerasBackend

    return KerasBackend


DENSE = "[keras.layers.Dense({})]"
CASES = {
    "one logit": (
        "Classification(('no', 'yes'))",
        "(inputs[:, 0] > 0).astype('int64')",
        DENSE.format(1),
        "keras.losses.BinaryCrossentropy(from_logits=True)",
        ("test_accuracy", "max", ""),
        ["confusion_matrix.png"],
    ),
    "one probability": (
        "Classification(('no', 'yes'))",
        "(inputs[:, 0] > 0).astype('int64')",
        DENSE.format("1, activation='sigmoid'"),
        "'binary_crossentropy'",
        ("test_accuracy", "max", ""),
        ["confusion_matrix.png"],
    ),
    "several labels": (
        "MultiLabel(('a', 'b', 'c'))",
        "(inputs[:, :3] > 0).astype('float32')",
        DENSE.format(3),
        "keras.losses.BinaryCrossentropy(from_logits=True)",
        ("test_example_f1", "max", ""),
        ["labels.png"],
    ),
    "quantities": (
        "Regression(('length', 'width'), 'cm')",
        "inputs[:, :2] * 3 + 1",
        DENSE.format(2),
        "'mse'",
        ("test_mae", "min", "cm"),
        [
            *("predicted_and_true_0.png", "predicted_and_true_1.png"),
            *("residuals_0.png", "residuals_1.png"),
        ],
    ),
    "places": (
        "Segmentation(('ground', 'sky', 'tree'), ignore=255)",
        "np.where(inputs > 2, 255, np.digitize(inputs, (-0.5, 0.5))).astype('uint8')",
        "[keras.layers.Reshape((4, 1)), keras.layers.Dense(8, activation='relu'), "
        "keras.layers.Dense(3)]",
        "keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)",
        ("test_mean_iou", "max", ""),
        ["iou.png"],
    ),
    "places of two classes": (
        "Segmentation(('ground', 'sky'))",
        "(inputs > 0).astype('int64')[..., None]",
        "[keras.layers.Reshape((4, 1)), keras.layers.Dense(1)]",
        "keras.losses.BinaryCrossentropy(from_logits=True)",
        ("test_mean_iou", "max", ""),
        ["iou.png"],
    ),
}


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize("name", CASES)
def test_every_task_trains_and_is_recorded_by_its_objective(name, tmp_path, keras_backend):
    """The objective is a metric, is better than by chance, and has a value for each example."""
    *parts, objective, figures = CASES[name]
    made = project(tmp_path, *parts)
    version = made.run(backend=keras_backend, report=standard_figures, overrides={"epochs": 15})
    manifest = made.manifest(version)
    metric, direction, unit = objective
    assert manifest["objective"] == {"metric": metric, "direction": direction, "unit": unit}
    results = made.recorded(version).results
    assert results.mean() == pytest.approx(version.metrics[metric], abs=1e-5)
    assert version.metrics[metric] > 0.6 if direction == "max" else version.metrics[metric] < 2
    drawn = {file.path.rpartition("/")[2] for file in version.files}
    assert set(figures) <= drawn


@pytest.mark.gate
def test_keras_reads_a_single_logit_as_a_probability_and_mlreg_does_not(tmp_path, keras_backend):
    """`metrics=["accuracy"]` compares a logit with 0.5: 0.3 would be a no."""
    model = (
        "import keras\n"
        "    layer = keras.layers.Dense(1, kernel_initializer='zeros', trainable=False,\n"
        "        bias_initializer=keras.initializers.Constant(0.3))\n"
        "    model = keras.Sequential([keras.Input((4,)), layer])\n"
        "    loss = keras.losses.BinaryCrossentropy(from_logits=True)\n"
        "    model.compile('sgd', loss, metrics=['accuracy'])\n"
        "    return model"
    )
    dataset = DATASET.format(task="Classification(('no', 'yes'))", targets="np.ones(examples, int)")
    hooks = hook("mlreg_dataset", dataset.strip()) + hook("mlreg_model", model)
    made = Project(tmp_path, TABLE_PLUGIN + hooks)
    version = made.run(backend=keras_backend, overrides={"epochs": 1})
    assert version.metrics["test_accuracy"] == 1.0
    assert any("Keras's accuracy is 0.0000" in text for text in made.observer.warnings)


@pytest.mark.gate(keep=3)
@pytest.mark.parametrize(
    ("task", "targets", "layers", "loss", "said"),
    [
        (
            "Classification(('a', 'b', 'c'))",
            "np.arange(examples) % 3",
            DENSE.format(1),
            "'binary_crossentropy'",
            "needs 3 units, one per class name",
        ),
        (
            "Classification(('no', 'yes'))",
            "np.arange(examples) % 2",
            DENSE.format(3),
            "'sparse_categorical_crossentropy'",
            "2 units, one per class name, or 1 unit for yes or no",
        ),
        (
            "Classification(('no', 'yes'))",
            "np.arange(examples) % 2",
            DENSE.format(1),
            "'sparse_categorical_crossentropy'",
            "a single unit needs BinaryCrossentropy",
        ),
        (
            "Classification(('no', 'yes'))",
            "np.eye(2)[np.arange(examples) % 2]",
            DENSE.format(1),
            "'binary_crossentropy'",
            "one-hot rows need two",
        ),
        (
            "MultiLabel(('a', 'b', 'c'))",
            "(inputs[:, :3] > 0).astype('float32')",
            DENSE.format(2),
            "'binary_crossentropy'",
            "needs 3 units, one per label name",
        ),
        (
            "Regression(('length', 'width'))",
            "inputs[:, :2]",
            DENSE.format(1),
            "'mse'",
            "needs 2 units, one per target: length, width",
        ),
        (
            "Segmentation(('ground', 'sky', 'tree'))",
            "np.digitize(inputs, (-0.5, 0.5))",
            DENSE.format(3),
            "'sparse_categorical_crossentropy'",
            "It needs shape (4, 3)",
        ),
        (
            "Other(objective=Objective('auc', 'max'))",
            "inputs[:, :1]",
            DENSE.format(1),
            "'mse'",
            "'auc' is no metric of the model",
        ),
    ],
)
def test_a_model_that_does_not_fit_the_task_is_refused_before_training(
    tmp_path, keras_backend, task, targets, layers, loss, said
):
    """The error says which size the last layer needs."""
    made = project(tmp_path, task, targets, layers, loss)
    error = made.refused(PluginError, backend=keras_backend)
    assert said in str(error)


# --- what a compiled model says ------------------------------------------------------------------


def compiled(loss, activation=None, last=()):
    import keras

    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, activation=activation), *last]
    )
    model.compile("sgd", loss)
    return model


def own_loss(expected, predicted):
    return (expected - predicted) ** 2


def test_the_loss_says_what_a_single_output_means():
    """A logit is compared with 0, a probability with 0.5; a final sigmoid gives probabilities."""
    import keras

    from registry_core.training.task_outputs import yes_threshold

    def logits(known):
        return keras.losses.BinaryCrossentropy(from_logits=known)

    linear = [keras.layers.Activation("linear", dtype="float32")]
    for loss, activation, last, threshold in (
        (logits(True), None, (), 0.0),
        (logits(False), "sigmoid", (), 0.5),
        (logits(True), "sigmoid", (), 0.5),  # Keras takes the logits before the sigmoid
        ("binary_crossentropy", "sigmoid", linear, 0.5),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), None, (), 0.0),
        ("hinge", None, (), 0.0),
        (keras.losses.SquaredHinge(), "tanh", (), 0.0),
        ("mse", None, (), 0.5),
        (own_loss, None, (), 0.0),
        (own_loss, "sigmoid", (), 0.5),
    ):
        task = Classification(("no", "yes"))
        assert yes_threshold(compiled(loss, activation, last), task) == threshold, loss
    i = keras.Input((2,))
    inner = compiled("mse", "sigmoid")
    outer = keras.Model(i, inner(i))
    outer.compile("sgd", own_loss)
    assert yes_threshold(outer, None) == 0.5


def test_a_loss_is_known_by_what_it_measures():
    """Not by how it is written; its arguments count, whether outputs are logits does not."""
    import keras

    from registry_core.training.task_outputs import loss_identity

    def identity(loss):
        return loss_identity(compiled(loss))

    same = [
        "mse",
        "mean_squared_error",
        "MeanSquaredError",
        keras.losses.MeanSquaredError(name="m"),
    ]
    assert {identity(loss) for loss in same} == {"mean_squared_error"}
    crossentropy = keras.losses.BinaryCrossentropy
    assert identity(crossentropy(from_logits=True)) == identity("binary_crossentropy")
    assert identity(crossentropy(label_smoothing=0.1)) == "binary_crossentropy(label_smoothing=0.1)"
    assert identity(keras.losses.Huber()) == identity("huber") != identity("mse")
    assert identity(keras.losses.Huber(delta=2.0)) == "huber(delta=2.0)"
    assert identity(own_loss).endswith("test_tasks.own_loss")


# --- streams -------------------------------------------------------------------------------------


def stream(values, targets):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((values, targets))
    return StreamSplit(dataset, len(values), "v1")


def streams(targets, task=None, class_names=()):
    """The targets as a test stream, beside sound ones to train on."""
    values = np.arange(4, dtype="float32")[:, None]
    sound = np.roll(targets, 1, axis=0)[:1].repeat(4, axis=0)
    return DataSplits(
        ArraySplit(values + 9, sound), stream(values, targets), None, class_names, task=task
    )


PIXELS = np.zeros((4, 2, 2), "int64")
LABELS = np.eye(3, dtype="float32")[[0, 1, 2, 0]]


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.gate(keep=2)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"targets": np.array([0, 1, 3, 0]), "class_names": "abc"}, "example 2 has label 3"),
        (
            {"targets": changed(LABELS, (1, 0), 1), "class_names": "abc"},
            "task=MultiLabel(class_names)",
        ),
        ({"targets": 0.5 * LABELS, "task": MultiLabel(("a", "b", "c"))}, "example 0 has 0.5"),
        (
            {
                "targets": changed(PIXELS, (3, 0, 1), 7),
                "task": Segmentation(("a", "b", "c"), ignore=8),
            },
            "example 3 has label 7",
        ),
        ({"targets": LABELS, "task": Regression(("x", "y"))}, "(3,)"),
        (
            {"targets": PIXELS, "task": Classification(("a", "b", "c"))},
            "single examples, not batches",
        ),
    ],
)
def test_targets_of_a_stream_that_contradict_the_task_are_refused(data, said):
    """As those of arrays are, with the place of the first bad example."""
    from registry_core.config import RunConfig
    from registry_core.training import KerasTrainer

    names = {key: tuple(value) for key, value in data.items() if key == "class_names"}
    with pytest.raises(DataError) as caught:
        KerasTrainer(RunConfig()).check_data(streams(**{**data, **names}))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "task"),
    [
        (changed(PIXELS, (3, 0, 1), 8), Segmentation(("a", "b"), ignore=8)),
        (changed(LABELS, (1, 0), 1), MultiLabel(("a", "b", "c"))),
        (LABELS, Classification(("a", "b", "c"))),
    ],
)
def test_targets_of_a_stream_that_follow_the_task_are_taken(targets, task):
    """Ignored places, several labels, one-hot rows."""
    from registry_core.config import RunConfig
    from registry_core.training import KerasTrainer

    KerasTrainer(RunConfig()).check_data(streams(targets, task))
