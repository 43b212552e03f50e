"""The operations of a training are those that can be counted by hand, and counting changes nothing.

A multiplication and the addition of its product are two operations.
"""

import pytest
from resumed_fits import STEPS, WITHIN, Fits

from registry_core.formatting import flop, work_facts
from registry_core.types import Phase

pytestmark = pytest.mark.tensorflow

BATCH = 5


@pytest.fixture
def counted(training, tf):
    """The count of a function of one open batch, for `BATCH` examples."""
    from registry_core.training.operations import count

    def of(function, *shape, batch=BATCH):
        signature = tf.TensorSpec((None, *shape), tf.float32)
        return count(tf.function(function).get_concrete_function(signature).graph, batch)

    return of


# --- against numbers counted by hand -------------------------------------------------------------


def test_a_dense_model_takes_two_operations_for_each_weight_and_example(counted, keras):
    """Products, the bias, the activation."""
    model = keras.Sequential(
        [
            keras.Input((7,)),
            keras.layers.Dense(11, activation="relu"),
            keras.layers.Dense(3, use_bias=False),
        ]
    )
    hidden = 2 * 7 * 11 + 11 + 11
    found = counted(model, 7)
    assert (found.operations, found.not_counted) == (BATCH * (hidden + 2 * 11 * 3), frozenset())


def test_a_convolution_takes_two_operations_for_each_tap_of_each_result(counted, keras):
    """And pooling one for each value of a window; a depthwise one has one channel for each."""
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            keras.layers.Conv2D(8, (3, 5), padding="same", strides=2, use_bias=False),
            keras.layers.MaxPooling2D(2),
            keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        ]
    )
    convolution = 2 * (6 * 5 * 8) * (3 * 5 * 3)
    pooling, depthwise = (3 * 2 * 8) * 4, 2 * (3 * 2 * 8) * (3 * 3)
    assert counted(model, 12, 10, 3).operations == BATCH * (convolution + pooling + depthwise)


def test_a_gradient_takes_as_many_products_as_what_it_is_the_gradient_of(counted, tf):
    """One convolution after another: the second has a gradient for its input, the first has none.

    The gradient of a sum is one everywhere; adding up the sum takes one operation for each value.
    """
    first, second = tf.Variable(tf.ones((3, 3, 4, 6))), tf.Variable(tf.ones((3, 3, 6, 2)))

    def step(images):
        with tf.GradientTape() as tape:
            inside = tf.nn.conv2d(images, first, 1, "SAME")
            loss = tf.reduce_sum(tf.nn.conv2d(inside, second, 1, "SAME"))
        return loss, tape.gradient(loss, [first, second])

    before, after = 2 * 64 * 9 * 4 * 6, 2 * 64 * 9 * 6 * 2
    assert counted(step, 8, 8, 4).operations == BATCH * (2 * before + 3 * after + 64 * 2)


def test_a_bias_may_be_added_along_the_second_axis(counted, tf):
    """Where the channels come before height and width."""
    found = counted(lambda x: tf.nn.bias_add(x, tf.ones(3), data_format="NCHW"), 3, 4, 6)
    assert found.operations == BATCH * 3 * 4 * 6


@pytest.mark.gate
def test_the_layers_of_a_language_model_take_what_is_counted_by_hand(counted, keras):
    """A recurrent and an attention layer, an embedding, which moves values, and a normalization."""

    def of(layer, *shape, calls=1):
        inputs = keras.Input(shape)
        return counted(keras.Model(inputs, layer(*[inputs] * calls)), *shape).operations / BATCH

    layers = keras.layers
    products, sums, gates, cell, output = 2 * (16 + 8) * 32, 2 * 32, 4 * 8, 3 * 8, 2 * 8
    assert of(layers.LSTM(8), 10, 16) == 10 * (products + sums + gates + cell + output)
    projections, pairs = 4 * 2 * 7 * 12 * 12, 2 * (2 * 3 * 7 * 7 * 4)
    attention = layers.MultiHeadAttention(3, 4, use_bias=False)
    softmax, scaled = 5 * 3 * 7 * 7, 3 * 7 * 7
    assert of(attention, 7, 12, calls=2) == projections + pairs + softmax + scaled
    assert of(layers.Embedding(20, 8), 6) == 0
    assert of(layers.BatchNormalization(), 500, 6) == pytest.approx(2 * 500 * 6, rel=0.01)


@pytest.mark.parametrize(
    ("equation", "products"),
    [("bij,jk->bik", 4 * 6 * 9), ("bij,bkj->bik", 4 * 4 * 6), ("...j,jk->...k", 4 * 6 * 9)],
)
def test_an_einsum_takes_two_operations_for_each_combination(counted, tf, equation, products):
    """Of all of its labels."""
    other = tf.ones((6, 9))

    def product(values):
        return tf.einsum(equation, values, values if "bkj" in equation else other)

    assert counted(product, 4, 6).operations == BATCH * 2 * products


def test_a_compiled_part_is_counted_like_any_other(counted, tf):
    """What XLA fuses is computed all the same."""
    plain = counted(lambda x: tf.exp(x) * x, 40)
    assert counted(tf.function(lambda x: tf.exp(x) * x, jit_compile=True), 40) == plain
    assert plain.operations == BATCH * 80


@pytest.mark.gate
def test_a_recurrent_layer_is_counted_once_for_each_position(counted, keras):
    """Twelve positions more take as many operations more, whatever the length before."""

    def of(length):
        model = keras.Sequential([keras.Input((length, 16)), keras.layers.SimpleRNN(8)])
        return counted(model, length, 16).operations

    short, middle, long = of(12), of(24), of(36)
    assert middle - short == long - middle > 12 * BATCH * 2 * (16 * 8 + 8 * 8)


# --- what cannot be counted ----------------------------------------------------------------------


def test_what_has_no_rule_is_named_and_the_rest_counted(counted, tf):
    """A Cholesky decomposition; and a loop whose end depends on the data."""
    found = counted(lambda x: tf.linalg.cholesky(x[:, :, None] * x[:, None, :]), 6)
    assert found.operations == BATCH * 36
    assert found.not_counted == {"Cholesky"}

    def doubled(x):
        return tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: (y * 2,), (x,))

    from registry_core.training.operations import count

    @tf.function
    def around(x):
        return tf.cond(tf.reduce_sum(x) > 0, lambda: doubled(x)[0], lambda: x)

    graph = around.get_concrete_function(tf.TensorSpec((None, 3), tf.float32)).graph
    assert count(graph, 2).operations >= 6


@pytest.mark.gate
def test_a_model_that_runs_eagerly_is_trained_and_not_counted(training, tmp_path):
    """The version says why."""
    ended = Fits(training, tmp_path, run_eagerly=True, settings={"epochs": 1}).whole()
    assert ended.history.operations["training"] is None
    assert ended.history.operations["why_not"] == "the model runs eagerly"
    assert ended.history.epochs == 1


@pytest.mark.gate
def test_a_count_that_fails_stops_no_run(training, tmp_path, monkeypatch):
    """Whatever TensorFlow's graphs are like one day."""

    def broken(*known, **chosen):
        raise KeyError("f")

    monkeypatch.setattr("registry_core.training.operations.count", broken)
    ended = Fits(training, tmp_path, settings={"epochs": 1}).whole()
    assert ended.history.operations["training"] is None
    assert "KeyError" in ended.history.operations["why_not"]


# --- of a training -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted_fit(training, tmp_path_factory):
    """Several steps in one call, as in most runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 1_000)
        return Fits(training, tmp_path_factory.mktemp("counted")).whole()


@pytest.mark.gate
def test_a_run_ends_in_the_same_bits_whether_it_is_counted_or_not(
    training, tmp_path, monkeypatch, counted_fit
):
    """Dropout and all."""
    counted = counted_fit
    with monkeypatch.context() as patched:
        target = "registry_core.training.operations.TrainingOperations."
        patched.setattr(f"{target}note_step", lambda *known: None)
        patched.setattr(f"{target}note_validation", lambda *known: None)
        not_counted = Fits(training, tmp_path).whole()
    assert counted.history.operations["training"]
    assert not_counted.history.operations["training"] is None
    assert counted.digest == not_counted.digest
    assert counted.history.metrics == not_counted.history.metrics


@pytest.mark.gate
def test_a_training_counts_every_step_of_every_epoch_and_a_smaller_last_batch(
    training, tmp_path, counted_fit
):
    """30 examples in batches of 5; in batches of 8, the last has 6."""
    whole = counted_fit.history.operations
    assert whole["training"] == 3 * STEPS * whole["per_step"]
    assert whole["per_step"] > 5 * 2 * (2 * 6 * 2 + 6 * 3 * 3)  # products alone
    assert whole["validation"] > 3 * 12 * 2 * (2 * 6 + 6 * 3)
    assert whole["not_counted"] == []
    uneven = Fits(training, tmp_path, settings={"batch_size": 8, "epochs": 2}).whole()
    counted = uneven.history.operations
    assert 6 * counted["per_step"] < counted["training"] < 8 * counted["per_step"]


@pytest.mark.gate
def test_a_resumed_run_has_counted_what_one_that_was_never_stopped_has(training, tmp_path):
    """With phases of different cost, whose first was over when it was resumed."""

    def phases():
        def freeze(model):
            model.layers[0].trainable = False
            model.compile("sgd", model.loss, metrics=["accuracy"])

        return [Phase("all", 2), Phase("head", 1, freeze)]

    fits = Fits(training, tmp_path, phases=phases, optimizer=lambda: "sgd")
    whole = fits.whole().history.operations
    assert fits.resumed(WITHIN, (2, 4)).history.operations == whole
    assert whole["training"] > 3 * STEPS * whole["per_step"]  # the last phase is the cheapest


@pytest.mark.gate
def test_an_evaluation_counts_all_examples_and_the_parameters(counted_fit):
    """2 x 6 + 6 weights and biases, then 6 x 3 + 3."""
    from training_helpers import flowers

    from registry_core.training.evaluation import evaluate_model

    model = counted_fit.model
    few, many = evaluate_model(model, flowers(9)), evaluate_model(model, flowers(260))
    assert few.parameters == {"trainable": 39, "fixed": 0}
    assert few.operations["operations"] > 9 * 2 * (2 * 6 + 6 * 3)
    ratio = many.operations["operations"] / few.operations["operations"]
    assert ratio == pytest.approx(260 / 9, rel=0.05)


# --- in words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "shown"),
    [(950, "950 FLOP"), (1_900_000_000_000_000, "1.9 PFLOP"), (999_990, "1.0 MFLOP")],
)
def test_operations_have_the_units_of_the_field(operations, shown):
    """A thousand of one unit is the next."""
    assert flop(operations) == shown


def test_a_version_without_a_count_says_nothing_of_it():
    """Those of earlier mlregs; one that could not be counted says why."""
    assert work_facts({}) == []
    why = {"training": None, "evaluation": 1_500, "not_counted": [], "why_not": "it was eager"}
    found = {"operations": why, "parameters": {"trainable": 1_200, "fixed": 0}}
    assert work_facts(found) == [
        ("parameters", "1,200 trainable"),
        ("operations", "1.5 kFLOP in evaluation, training not counted: it was eager"),
    ]
