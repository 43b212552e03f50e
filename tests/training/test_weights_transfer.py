"""Which weights of a saved model a new one takes: by the places and shapes of its layers."""

import numpy as np
import pytest
from checkpoint_helpers import Nowhere
from fakes import Recorder
from training_helpers import NAMES, flowers

from registry_core.config import RunConfig
from registry_core.process.interrupts import StopRequest
from registry_core.types import Assembly, DataSplits

pytestmark = pytest.mark.tensorflow

DATA = DataSplits(flowers(30), flowers(12, 1), flowers(9, 2), NAMES)


@pytest.fixture(autouse=True)
def trainer(training, keras):
    return training.KerasTrainer(RunConfig(epochs=1, batch_size=5, seed=3))


def body(keras, inputs, units=6):
    inner = keras.layers.Dense(units, activation="tanh", name="inner")(inputs)
    return keras.layers.BatchNormalization(name="norm")(inner)


def model_of(keras, classes=3, units=6):
    inputs = keras.Input((2,))
    dropped = keras.layers.Dropout(0.5, name="drop")(body(keras, inputs, units))
    model = keras.Model(inputs, keras.layers.Dense(classes, name="head")(dropped))
    compile_it(keras, model)
    return model


def compile_it(keras, model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])


@pytest.fixture(scope="module")
def saved(training, keras, tmp_path_factory):
    """Trained for an epoch and saved: its file and the model."""
    trainer = training.KerasTrainer(RunConfig(epochs=1, batch_size=5, seed=3))
    model, path = model_of(keras), tmp_path_factory.mktemp("saved") / "saved.keras"
    assembly = Assembly(DATA, model, None, None, [])
    with trainer.precision():
        trainer.fit(assembly, Recorder(), StopRequest(), Nowhere())
    training.save_model(model, path)
    return path, model


def same(ours, theirs):
    return all(
        np.array_equal(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True)
    )


@pytest.mark.gate
def test_the_same_network_takes_everything_but_the_optimizers_state_and_the_seeds(
    training, keras, trainer, saved
):
    """Other seeds draw other numbers, and Adam begins anew."""
    path, trained = saved
    trainer = training.KerasTrainer(RunConfig(seed=4))
    model = model_of(keras)
    seed = np.asarray(model.get_layer("drop").seed_generator.state.value)
    found = trainer.take_weights(model, DATA.train, path)
    assert same(model, trained)
    assert (list(found.taken), found.fresh, list(found.unused)) == (
        ["inner", "norm", "head"], {}, [],
    )  # fmt: skip
    assert (found.variables, found.of_variables) == (8, 8)
    assert found.parameters == found.of_parameters == model.count_params()
    assert np.array_equal(model.get_layer("drop").seed_generator.state.value, seed)
    assert not model.optimizer.built


@pytest.mark.gate
def test_a_head_with_another_number_of_classes_stays_fresh_as_a_whole(keras, trainer, saved):
    """Its kernel and its bias both have other shapes; what is before it is taken."""
    path, trained = saved
    model = model_of(keras, classes=5)
    head = model.get_layer("head").get_weights()
    found = trainer.take_weights(model, DATA.train, path)
    assert found.fresh == {"head": "kernel (6, 3) there, (6, 5) here"}
    assert list(found.unused) == ["head"]
    assert same(model.get_layer("inner"), trained.get_layer("inner"))
    assert same(model.get_layer("norm"), trained.get_layer("norm"))
    for before, after in zip(head, model.get_layer("head").get_weights(), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.gate
def test_a_layer_takes_all_of_its_weights_or_none(keras, trainer, saved):
    """A bias whose kernel does not fit would mean nothing."""
    path, _ = saved
    model = model_of(keras, units=8)
    found = trainer.take_weights(model, DATA.train, path)
    assert (list(found.taken), found.parameters) == ([], 0)
    assert found.fresh["head"] == "kernel (6, 3) there, (8, 3) here"
    assert list(found.unused) == ["inner", "norm", "head"]


@pytest.mark.gate
def test_a_model_inside_another_one_is_found_whichever_has_the_other(
    training, keras, trainer, saved, tmp_path
):
    """As a backbone in a new model, and as what an inference model wraps."""
    path, trained = saved
    inputs = keras.Input((2,))
    backbone = keras.Model(inputs, body(keras, inputs), name="backbone")
    outer = keras.Input((2,))
    model = keras.Model(outer, keras.layers.Dense(7, name="own")(backbone(outer)))
    compile_it(keras, model)
    found = trainer.take_weights(model, DATA.train, path)
    assert (list(found.taken), found.part, found.source) == (
        ["backbone/inner", "backbone/norm"], "backbone", "",
    )  # fmt: skip
    assert found.fresh == {"own": "not there"}
    assert list(found.unused) == ["head"]
    training.save_model(model, tmp_path / "outer.keras")
    again = model_of(keras)
    found = trainer.take_weights(again, DATA.train, tmp_path / "outer.keras")
    assert (list(found.taken), found.part, found.source) == (["inner", "norm"], "", "backbone")
    assert list(found.unused) == ["own"]
    assert same(again.get_layer("inner"), trained.get_layer("inner"))


def test_layers_without_names_are_found_by_the_attributes_that_hold_them(
    training, keras, trainer, tmp_path
):
    """Keras gives them other names each time that the model is made."""

    @keras.saving.register_keras_serializable("test_weights_transfer")
    class Block(keras.layers.Layer):
        def __init__(self, **choices):
            super().__init__(**choices)
            self.first = keras.layers.Dense(4)
            self.others = [keras.layers.Dense(4), keras.layers.Dense(4)]

        def call(self, inputs):
            found = self.first(inputs)
            for each in self.others:
                found = each(found)
            return found

    def made():
        model = keras.Sequential([keras.Input((2,)), Block(name="block"), keras.layers.Dense(3)])
        compile_it(keras, model)
        return model

    keras.layers.Dense(1)  # moves the numbers in Keras's names
    saved = made()
    training.save_model(saved, tmp_path / "saved.keras")
    keras.backend.clear_session()
    model = made()
    found = trainer.take_weights(model, DATA.train, tmp_path / "saved.keras")
    assert list(found.taken) == ["block/first", "block/others/0", "block/others/1", "dense"]
    assert same(model.get_layer("block"), saved.get_layer("block"))


@pytest.mark.gate
def test_taking_weights_draws_no_random_number(training, keras, trainer, saved):
    """A run that is resumed takes none, and must draw the same numbers afterwards."""
    from registry_core.training.random_draws import random_states

    path, _ = saved
    model = model_of(keras)
    before = random_states()
    trainer.take_weights(model, DATA.train, path)
    for then, now in zip(before, random_states(), strict=True):
        np.testing.assert_equal(now, then)


@pytest.mark.gate
def test_layers_that_keras_named_are_counted_in_their_own_model(training, keras, trainer, tmp_path):
    """Whatever was built before, in the process that trained it or in this one."""

    def made():
        layers = [keras.Input((2,)), keras.layers.Dense(4), keras.layers.Dense(4)]
        model = keras.Sequential([*layers, keras.layers.Dense(3, name="head")])
        compile_it(keras, model)
        return model

    saved = made()
    training.save_model(saved, tmp_path / "saved.keras")
    model = made()
    assert model.layers[0].name != saved.layers[0].name
    found = trainer.take_weights(model, DATA.train, tmp_path / "saved.keras")
    assert list(found.taken) == ["dense", "dense_1", "head"]
    assert same(model, saved)
