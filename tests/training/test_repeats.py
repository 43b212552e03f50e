"""A run ends in the same weights however often it is stopped, or says before training why not.

Each way to train is fitted without a stop, and stopped within an epoch and again between two, and
compared by the digest of its weights and by its history.
"""

import random
from collections import Counter, deque

import numpy as np
import pytest
from resumed_fits import BETWEEN, STEPS, WITHIN, Fits

pytestmark = pytest.mark.tensorflow

# Stopped twice within an epoch, after its last batch and at its end.
OFTEN = [(0, 2), (0, STEPS), (1, 0), (1, 4), (2, 2)]


@pytest.fixture
def fits(training, tmp_path, monkeypatch):
    """Two steps a call, where no callback looks at batches."""
    monkeypatch.setattr("registry_core.training.callback_batching.EXAMPLES_PER_CALL", 10)
    return lambda **choices: Fits(training, tmp_path, **choices)


def assert_same(fits: Fits, *stops) -> None:
    """Without a warning."""
    whole = fits.whole()
    assert whole.warnings == []
    assert whole.history.not_repeatable == []
    for places in stops or [[WITHIN, BETWEEN]]:
        resumed = fits.resumed(*places)
        assert resumed.warnings == [], places
        assert resumed.history.metrics == whole.history.metrics, places
        assert resumed.digest == whole.digest, places


# --- callbacks -----------------------------------------------------------------------------------


def moved_rate(callback, factor):
    callback.model.optimizer.learning_rate = float(callback.model.optimizer.learning_rate) * factor


def callbacks_by_kind(keras, tf):
    """Callbacks of a plugin's own, each with a memory of another kind that decides the rate."""

    class Kind(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.make()

        def make(self):
            """What it remembers."""

    class AtEpochBegin(Kind):
        def on_epoch_begin(self, epoch, logs=None):
            moved_rate(self, 0.7)

    class Weights(Kind):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.set_weights([0.9 * weight for weight in self.model.get_weights()])

    class Counts(Kind):
        def make(self):
            self.begun = self.batches = 0

        def on_epoch_begin(self, epoch, logs=None):
            self.begun += 1

        def on_train_batch_begin(self, batch, logs=None):
            self.batches += 1
            moved_rate(self, 1 + 0.001 * self.batches * self.begun)

    class Resets(Kind):
        def on_train_begin(self, logs=None):
            self.seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(batch)
            moved_rate(self, 1 + 0.001 * len(self.seen))

    class Collections(Kind):
        def make(self):
            self.losses, self.seen = deque(maxlen=3), set()
            self.by_epoch, self.times = {}, Counter()

        def on_train_batch_end(self, batch, logs=None):
            self.losses.append(logs["loss"])
            self.seen.add(round(logs["loss"], 3))
            self.times[batch] += 1
            moved_rate(self, 1 + 0.001 * (len(self.seen) + sum(self.losses) + self.times[0]))

        def on_epoch_end(self, epoch, logs=None):
            self.by_epoch[epoch] = logs["loss"]
            moved_rate(self, 1 + 0.01 * len(self.by_epoch) * self.by_epoch[0])

    class RandomDraws(Kind):
        def on_epoch_begin(self, epoch, logs=None):
            self.drawn = random.random() + np.random.random()

        def on_train_batch_end(self, batch, logs=None):
            drawn = float(tf.random.uniform([])) + float(keras.random.uniform(()))
            moved_rate(
                self, 0.9 + 0.1 * (random.random() + np.random.random() + self.drawn + drawn)
            )

    class Generators(Kind):
        def make(self):
            self.numpy, self.python = np.random.default_rng(7), random.Random(7)
            self.old = np.random.RandomState(7)
            self.tensorflow = tf.random.Generator.from_seed(7)
            self.keras = keras.random.SeedGenerator(7)

        def on_epoch_begin(self, epoch, logs=None):
            self.factor = 0.8 + 0.1 * self.numpy.random()

        def on_train_batch_end(self, batch, logs=None):
            drawn = self.numpy.random() + self.python.random() + self.old.random_sample()
            drawn += float(self.tensorflow.uniform([])) + float(
                keras.random.uniform((), seed=self.keras)
            )
            moved_rate(self, self.factor + 0.1 * drawn)

    class Teacher(Kind):
        def on_train_begin(self, logs=None):
            self.teacher = keras.models.clone_model(self.model)
            self.mean, self.steps = keras.metrics.Mean(), tf.Variable(0.0)

        def on_train_batch_end(self, batch, logs=None):
            self.mean.update_state(logs["loss"])
            self.steps.assign_add(1.0)
            pairs = zip(self.teacher.weights, self.model.weights, strict=True)
            for kept, weight in pairs:
                if kept.dtype == "float32":
                    kept.assign(0.9 * kept + 0.1 * weight)
            moved_rate(self, 1 + 0.01 * float(self.mean.result()) + 0.001 * float(self.steps))

        def on_train_end(self, logs=None):
            self.model.set_weights(self.teacher.get_weights())

    class Meter:
        def __init__(self):
            self.values = []

        def add(self, value):
            self.values.append(value)
            return sum(self.values)

    class Own(Kind):
        def make(self):
            self.meters = {"loss": Meter()}
            self.tensor = tf.constant(0.0)

        def on_train_batch_end(self, batch, logs=None):
            self.tensor = self.tensor + logs["loss"]
            moved_rate(
                self, 1 + 0.001 * (self.meters["loss"].add(logs["loss"]) + float(self.tensor))
            )

    def functions():
        seen, times = [], 0

        def begins(epoch, logs):
            nonlocal times
            times += 1

        def ends(batch, logs):
            seen.append(logs["loss"])
            moved_rate(callback, 1 + 0.001 * (sum(seen) + times))

        callback = keras.callbacks.LambdaCallback(on_epoch_begin=begins, on_train_batch_end=ends)
        return callback

    def scheduler():
        rates = []

        def schedule(epoch, rate):
            rates.append(rate)
            return rate * (0.5 + 0.1 * len(rates))

        return keras.callbacks.LearningRateScheduler(schedule)

    return {
        "rate at an epoch's begin": AtEpochBegin,
        "weights at an epoch's begin": Weights,
        "counts": Counts,
        "resets when training begins": Resets,
        "collections": Collections,
        "global generators": RandomDraws,
        "generators": Generators,
        "variables": Teacher,
        "own objects": Own,
        "variables around functions": functions,
        "a schedule with a memory": scheduler,
        "inside a list": lambda: keras.callbacks.CallbackList([Counts(), AtEpochBegin()]),
    }


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    "kind",
    [
        *("rate at an epoch's begin", "weights at an epoch's begin", "counts"),
        *("resets when training begins", "collections", "global generators", "generators"),
        *("variables", "own objects", "variables around functions", "a schedule with a memory"),
        "inside a list",
    ],
)
def test_the_state_of_callbacks_is_restored(fits, keras, tf, kind):
    """Also what they change when an epoch begins, which Keras does twice for a resumed epoch."""
    make = callbacks_by_kind(keras, tf)[kind]
    stops = [OFTEN] if kind == "counts" else []
    # without graphs, which take long to make
    plain = {"run_eagerly": True, "optimizer": lambda: keras.optimizers.SGD(0.01)}
    assert_same(fits(callbacks=lambda run_dir: [make()], **plain), *stops)


def told(ended) -> str:
    """The only warning, which is in the version's record too."""
    (warning,) = ended.warnings
    (found,) = ended.history.not_repeatable
    assert found.what == warning
    return warning


@pytest.mark.exhaustive
@pytest.mark.gate
def test_state_that_cannot_be_saved_is_reported_before_training(fits, keras):
    """A generator's position, a global of the module: named with the callback."""

    class Cycles(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.rates = iter([0.1, 0.2])

    class Globals(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            global EPOCHS_SEEN
            EPOCHS_SEEN = epoch

    for kind, name in ((Cycles, "'rates' (list_iterator)"), (Globals, "'EPOCHS_SEEN' (a global")):
        said = told(fits_in(fits, kind, name).whole())
        assert said.startswith(f"The callback {kind.__qualname__} keeps {name}")
        assert "if this run is stopped and resumed, its weights may differ" in said


def fits_in(fits, kind, name):
    made = fits(callbacks=lambda run_dir: [kind()])
    made._folder = made._folder / kind.__name__
    made._folder.mkdir()
    return made


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_warning_is_repeated_on_resume_and_recorded_once(fits, keras):
    """Also if nothing is left to train."""

    class Cycles(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.rates = iter([0.1, 0.2])

    fit = fits(callbacks=lambda run_dir: [Cycles()])
    assert "'rates'" in told(fit.resumed(WITHIN))
    done = fit.resumed((3, 0))
    assert done.warnings == []
    (found,) = done.history.not_repeatable
    assert "'rates'" in found.what
    assert found.to_json() == {"what": found.what, "when": "resumed"}


# --- layers --------------------------------------------------------------------------------------


def layers_by_kind(keras, tf):
    class Layer(keras.layers.Layer):
        def call(self, inputs, training=False):
            return inputs + 0.1 * self.drawn(keras.ops.shape(inputs)) if training else inputs

    class Global(Layer):
        def drawn(self, shape):
            return keras.random.normal(shape)

    class Elsewhere(Layer):
        def drawn(self, shape):
            return tf.random.get_global_generator().normal(shape)

    state = []

    class Untracked(Layer):
        def drawn(self, shape):
            if not state:
                state.append(keras.random.SeedGenerator(5))
            return keras.random.normal(shape, seed=state[0])

    class Stateful(Layer):
        def drawn(self, shape):
            return tf.random.normal(shape)

    def untracked():
        state.clear()
        return Untracked()

    return {"global": Global, "elsewhere": Elsewhere, "untracked": untracked, "tf": Stateful}


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("kind", ["global", "elsewhere", "untracked"])
def test_a_layer_that_draws_without_a_generator_of_its_own_repeats(fits, keras, tf, kind):
    """Keras's and TensorFlow's global generators and unknown ones are saved too."""
    tf.random.set_global_generator(tf.random.Generator.from_seed(1))

    def layers():
        if kind == "elsewhere":
            tf.random.set_global_generator(tf.random.Generator.from_seed(1))
        return [layers_by_kind(keras, tf)[kind]()]

    assert_same(fits(layers=layers))


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_layer_that_draws_with_tf_random_is_named_before_training(fits, keras, tf):
    """A run that is not stopped repeats."""

    class Noisy(keras.layers.Layer):
        def call(self, inputs, training=False):
            return inputs + 0.1 * tf.random.normal(tf.shape(inputs)) if training else inputs

    fit = fits(layers=lambda: [Noisy(name="noisy")])
    whole = fit.whole()
    assert told(whole).startswith(
        "The layer 'noisy' draws random numbers with tf.random (RandomStandardNormal), "
        "whose state cannot be saved in a checkpoint: if this run is stopped and resumed, its "
        "weights will differ."
    )
    assert whole.history.not_repeatable[0].when == "resumed"
    resumed = fit.resumed(WITHIN)
    assert told(resumed) == told(whole)
    assert resumed.digest != whole.digest  # else there would be nothing to tell


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_model_that_runs_eagerly_repeats_with_tf_random_too(fits, keras, tf):
    """Outside of functions, TensorFlow's generator can be read."""

    class Noisy(keras.layers.Layer):
        def call(self, inputs, training=False):
            return inputs + 0.1 * tf.random.normal(tf.shape(inputs)) if training else inputs

    assert_same(fits(layers=lambda: [Noisy()], run_eagerly=True))


def steps_by_kind(keras, tf, kind):
    """A model whose training step adds noise to its inputs."""

    def drawn(shape):
        if kind == "keras":
            return keras.random.normal(shape)
        if kind == "tf":
            return tf.random.normal(shape)
        return np.random.normal() if kind == "numpy" else random.gauss(0, 1)

    class Noisy(keras.Sequential):
        def train_step(self, data):
            inputs, targets = data
            return super().train_step((inputs + 0.1 * drawn(tf.shape(inputs)), targets))

    return Noisy


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("kind", ["keras", "numpy", "python"])
def test_a_training_step_that_draws_repeats(fits, keras, tf, kind):
    """By Keras without a SeedGenerator; what NumPy draws while it is traced is a part of it."""
    assert_same(fits(model_class=lambda: steps_by_kind(keras, tf, kind)))


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_training_step_that_draws_with_tf_random_is_named_before_training(fits, keras, tf):
    """Its state cannot be read."""
    whole = fits(model_class=lambda: steps_by_kind(keras, tf, "tf")).whole()
    assert told(whole).startswith("The training step (")
    assert "draws random numbers with tf.random (RandomStandardNormal)" in told(whole)


# --- augmentations -------------------------------------------------------------------------------


def augmentations_by_kind(keras, tf):
    def layers():
        noise = keras.layers.GaussianNoise(0.3)
        dropped = keras.layers.Dropout(0.2)

        def augmentation(inputs, batch):
            return dropped(noise(inputs, training=True), training=True)

        return augmentation

    def unseeded():
        return lambda inputs, batch: inputs + 0.1 * keras.random.normal(tf.shape(inputs))

    def generator():
        own = tf.random.Generator.from_seed(3)
        return lambda inputs, batch: inputs + 0.1 * own.normal(tf.shape(inputs))

    def strength():
        """A variable that a callback changes."""
        by = tf.Variable(0.1)

        def augmentation(inputs, batch):
            return inputs + by * tf.random.stateless_normal(tf.shape(inputs), batch.seed)

        augmentation.by = by
        return augmentation

    def stateful():
        return lambda inputs, batch: inputs + 0.1 * tf.random.normal(tf.shape(inputs))

    def counts():
        count = tf.Variable(0.0)
        return lambda inputs, batch: inputs + 0.01 * count.assign_add(1.0)

    def python():
        def drawn(inputs):
            return (inputs + np.random.normal(size=inputs.shape)).astype("float32")

        def augmentation(inputs, batch):
            return tf.ensure_shape(tf.numpy_function(drawn, [inputs], tf.float32), inputs.shape)

        return augmentation

    return {
        each.__name__: each
        for each in (layers, unseeded, generator, strength, stateful, counts, python)
    }


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.parametrize("kind", ["layers", "unseeded", "generator"])
def test_an_augmentation_draws_by_the_seed_of_its_batch(fits, keras, tf, kind):
    """Keras layers, keras.random, a tf.random.Generator: all are seeded for each batch."""
    assert_same(fits(augmentation=augmentations_by_kind(keras, tf)[kind]))


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_augmentation_and_a_layer_do_not_share_keras_global_generator(fits, keras, tf):
    """Batches are made ahead: they would race for it."""
    assert_same(
        fits(
            augmentation=augmentations_by_kind(keras, tf)["unseeded"],
            layers=lambda: [layers_by_kind(keras, tf)["global"]()],
        )
    )


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_variable_shared_by_callback_and_augmentation_is_restored(fits, keras, tf):
    """It belongs to no callback and no model."""
    made = []

    def augmentation():
        made[:] = [augmentations_by_kind(keras, tf)["strength"]()]
        return made[0]

    class Stronger(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            made[0].by.assign(2 * made[0].by)

    assert_same(fits(augmentation=augmentation, callbacks=lambda run_dir: [Stronger()]))


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("kind", "named", "when"),
    [
        ("stateful", "tf.random or tf.image (RandomStandardNormal)", "resumed"),
        ("counts", "changes variables (Variable)", "resumed"),
        ("python", "tf.py_function or tf.numpy_function", "always"),
    ],
)
def test_an_unrepeatable_augmentation_is_reported_before_training(
    fits, keras, tf, kind, named, when
):
    """With a way to make it repeatable."""
    augmentation = augmentations_by_kind(keras, tf)[kind]
    whole = fits(augmentation=augmentation, run_eagerly=True, settings={"epochs": 1}).whole()
    assert named in told(whole)
    assert "batch.seed" in told(whole) or "batch.indices" in told(whole)
    assert whole.history.not_repeatable[0].when == when
