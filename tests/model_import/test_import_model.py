"""`mlreg import`: hostile files are refused before Keras opens them, good ones become versions."""

import json
import math
import os
import pickle
import shutil
import threading
import time
import tracemalloc
import zipfile
from functools import cache, partial
from hashlib import sha256

import numpy as np
import pytest
from cli_helpers import EXAMPLE, assert_error, in_turn, keras_mlreg, newest
from fakes import TABLE_PLUGIN, FakeBackend, Recorder, run_context, write_plugin, write_project
from fakes import write_settings as write_toml
from hostile_files import HOSTILE, ExaminerHere, archive, canary, dense, members, model, sound
from store_helpers import assert_whole

from registry_core.config import RunConfig
from registry_core.errors import IntegrityError, MlregError, RefusedError, UsageError
from registry_core.evaluation.per_example_results import PerExampleResults
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.model_import.import_model import examine, import_model
from registry_core.model_import.model_file import inspect
from registry_core.plugins.manager import KnownPlugins
from registry_core.store import Store
from registry_core.types import ArraySplit, DataSplits

pytestmark = pytest.mark.drawn

# --- what is refused by looking at it -------------------------------------------------------------


@pytest.fixture
def watched(tmp_path):
    with canary(tmp_path / "outside") as made:
        yield made


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate(keep=1)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_without_touching_anything(name, watched, tmp_path):
    """9 where it wants to run code or to reach outside, 6 where it is no whole .keras file.

    Seconds and memory are bounded, whatever sizes the file states.
    """
    status, make = HOSTILE[name]
    file = tmp_path / "model.keras"
    make(file, watched)
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises((RefusedError, IntegrityError)) as caught:
            examine(file, ExaminerHere())
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 10
    assert caught.value.exit_status == status, caught.value
    assert caught.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "outside"]
    watched.assert_untouched()


def test_a_valid_file_passes(tmp_path):
    """The base of the hostile files is accepted; its size and digest are returned."""
    file = sound(tmp_path / "model.keras")
    size, digest = file.stat().st_size, sha256(file.read_bytes()).hexdigest()
    assert examine(file, ExaminerHere()) == (size, digest)
    found = inspect(file)
    assert (found.keras_version, found.numbers) == ("3.15.1", 9)


def test_the_name_of_a_file_does_not_matter(tmp_path):
    """HDF5 with the name of a .keras file is HDF5, and a model with another name is a model."""
    sound(tmp_path / "model.h5")
    assert inspect(tmp_path / "model.h5").numbers == 9


def test_a_layers_vocabulary_may_be_beside_the_weights(tmp_path):
    """Keras stores the words of an adapted lookup layer in a member of the archive."""
    content = members() | {"assets/layers/lookup/vocabulary.txt": b"[UNK]\nword\n"}
    archive(tmp_path / "model.keras", content)
    assert inspect(tmp_path / "model.keras").numbers == 9


def test_a_refusal_says_what_was_found(tmp_path):
    """The faulty object is named, shortened if it is long."""
    archive(tmp_path / "model.keras", members(model(dense() | {"module": "x" * 10_000})))
    with pytest.raises(RefusedError, match="'Dense' of 'xxxx") as caught:
        inspect(tmp_path / "model.keras")
    assert len(str(caught.value)) < 1_000


def test_an_unreadable_path_fails_at_once(tmp_path):
    """A missing file, a pipe without a writer, and a name with a NUL are usage errors."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing.keras", "pipe", "a\0b"):
        with pytest.raises(UsageError):
            examine(tmp_path / name, ExaminerHere())


def test_the_copy_has_the_length_that_the_file_had_when_opened(tmp_path):
    """A file that keeps growing does not make the copy grow."""
    file = sound(tmp_path / "model.keras")
    size = file.stat().st_size
    stop = threading.Event()

    def grow():
        with file.open("ab") as stream:
            while not stop.is_set():
                stream.write(b"x" * 100_000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with pytest.raises(IntegrityError):  # what was appended is no part of an archive
            while file.stat().st_size == size:
                time.sleep(0.001)
            examine(file, ExaminerHere())
    finally:
        stop.set()
        writer.join()


# --- what becomes of a good one, without TensorFlow -----------------------------------------------


class FakeImportBackend(FakeBackend):
    """Accepts any file as a model, and evaluates it like `FakeBackend`."""

    def load(self, path, numbers):
        self._called("load")
        return {"bytes": path.read_bytes(), "numbers": numbers}

    def check_compatibility(self, model, data):
        self._called("check_compatibility")
        return "a loss"

    def check_saved(self, model, path, split):
        self._called("check_saved")
        assert path.read_bytes() == model["bytes"]


class Project:
    def __init__(self, folder):
        self.folder = folder
        self.plugins = KnownPlugins(write_project(folder)).load("flowers")
        self.store = Store(folder / "registry")
        self.observer = Recorder()
        self.adopters = []

    def import_model(self, file, backend=FakeImportBackend, **choices):
        def load_backend(config):
            self.adopters.append(backend(config))
            return self.adopters[-1]

        return import_model(
            spec_from_preset(self.plugins, **choices),
            file,
            self.store,
            run_context(self.plugins, self.folder, load_backend, self.observer),
            ExaminerHere(),
        )


def test_an_imported_version_has_the_same_bytes_and_names_its_source(tmp_path):
    """The manifest has file name, digest and Keras version, and no training settings."""
    project = Project(tmp_path)
    file = sound(tmp_path / "from elsewhere.keras")
    version = project.import_model(file, preset="quick", model="roses")
    digest = sha256(file.read_bytes()).hexdigest()
    assert (version.ref, version.preset, version.seed) == ("roses@1", "imported", 0)
    assert version.file("model.keras").sha256 == digest
    manifest = project.store.manifest(version)
    imported = manifest["imported"]
    assert imported.pop("data_config")["epochs"] == 1
    assert imported == {
        "file": "from elsewhere.keras",
        "size": file.stat().st_size,
        "sha256": digest,
        "keras_version": "3.15.1",
        "loss": "a loss",
        "data_preset": "quick",
    }
    assert (manifest["config"], manifest["history"], manifest["epoch_seconds"]) == ({}, {}, [])
    assert manifest["objective"] == {"metric": "test_accuracy", "direction": "max", "unit": ""}
    assert str(tmp_path) not in json.dumps(manifest)
    per_example_results = PerExampleResults.from_json(project.store.read(version, "outcomes.json"))
    assert per_example_results.fingerprint == manifest["data"]["splits"]["test"]["fingerprint"]
    assert project.store.ledger()[0].reason == "imported from from elsewhere.keras"
    assert_whole(project.store)


def test_no_data_is_loaded_for_a_file_that_is_refused(tmp_path, watched):
    """The file is inspected first; neither plugin nor backend is called."""
    project = Project(tmp_path)
    HOSTILE["lambda-layer"][1](tmp_path / "model.keras", watched)
    with pytest.raises(RefusedError):
        project.import_model(tmp_path / "model.keras")
    assert project.observer.said == [f"Registry: {project.store.folder}"]
    assert project.adopters == []
    assert project.store.models() == []
    assert not list(tmp_path.glob("registry/runs/*"))


def test_the_file_may_change_after_it_was_copied(tmp_path):
    """The inspected bytes are loaded and registered."""
    project = Project(tmp_path)
    file = sound(tmp_path / "model.keras")
    original = file.read_bytes()

    class Swapping(FakeImportBackend):
        def load(self, path, numbers):
            file.write_bytes(b"something else")
            return super().load(path, numbers)

    version = project.import_model(file, backend=Swapping)
    assert project.store.read(version, "model.keras") == original


@pytest.mark.parametrize("method", ["load", "check_compatibility", "evaluate", "check_saved"])
def test_a_model_that_fails_later_leaves_nothing(tmp_path, method):
    """No version, blob or folder remains, whichever step fails."""
    project = Project(tmp_path)
    file = sound(tmp_path / "model.keras")

    def failing(config):
        return FakeImportBackend(config, raises={method: IntegrityError("No.")})

    with pytest.raises(MlregError, match=r"No\."):
        project.import_model(file, backend=failing)
    assert project.store.models() == project.store.ledger() == []
    assert not list(tmp_path.glob("registry/objects/sha256/*/*"))
    assert not list(tmp_path.glob("registry/runs/*"))


# --- the command, on hostile files ------------------------------------------------------------

IMPORTED = "tensorflow was imported"


@pytest.fixture(scope="module")
def refusals(request, tmp_path_factory):
    """Hostile files given to the command, without TensorFlow: name -> how it ended."""
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.function is test_import_refuses_before_loading_tensorflow_and_the_data
    }
    names = [name for name in HOSTILE if name in asked]
    folder = tmp_path_factory.mktemp("project")
    for module in ("tensorflow", "keras"):
        write_plugin(folder / "in_place_of", module, f"raise SystemExit({IMPORTED!r})")
    write_plugin(folder, "flowers_plugin", TABLE_PLUGIN)
    write_toml(folder, {"flowers": "flowers_plugin"}, registry="registry")
    files = tmp_path_factory.mktemp("files")
    with canary(folder / "outside") as watched:
        for name in names:
            HOSTILE[name][1](files / f"{name}.keras", watched)
        before = {path for path in folder.rglob("*") if "registry" not in path.parts}
        lines = [["import", "flowers", str(files / f"{name}.keras")] for name in names]
        lines += [[*line, "--dry-run"] for line in lines[::5]]
        lines += [["list"], ["verify"]]
        began = time.monotonic()
        done = in_turn(
            lines, cwd=folder, PYTHONPATH=str(folder / "in_place_of"), FORKED_EXAMINER="1"
        )
        seconds = time.monotonic() - began
        watched.assert_untouched()
    after = {p for p in folder.rglob("*") if not {"registry", "__pycache__"} & set(p.parts)}
    assert after == before
    *ends, listed, verified = done
    names += [f"{name} -n" for name in names[::5]]
    return {
        "folder": folder, "seconds": seconds, "list": listed, "verify": verified,
        **dict(zip(names, ends, strict=True)),
    }  # fmt: skip


@pytest.mark.exhaustive(keep=4)
@pytest.mark.gate
@pytest.mark.processes
@pytest.mark.parametrize("name", HOSTILE)
def test_import_refuses_before_loading_tensorflow_and_the_data(refusals, name):
    """Three lines say what was found; --dry-run finds the same."""
    for done in filter(None, (refusals[name], refusals.get(f"{name} -n"))):
        assert_error(done, HOSTILE[name][0])
        assert IMPORTED not in done.stderr
        assert "drawn" not in done.stderr  # what the plugin says when it makes its data


@pytest.mark.gate  # of the default run's few files, none gets as far as a registry
@pytest.mark.processes
def test_refused_files_leave_nothing_in_the_registry(refusals):
    """No version, blob or run folder; the registry verifies; it takes seconds."""
    store = Store(refusals["folder"] / "registry")
    assert store.models() == store.ledger() == []
    assert_whole(store)
    assert (refusals["list"].status, refusals["verify"].status) == (0, 0)
    assert refusals["seconds"] < 120


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_dry_run_loads_the_model_and_says_what_would_be_done(tmp_path):
    """The digest of the file, the data, and the name; this process does not load TensorFlow."""
    write_project(tmp_path)
    sound(tmp_path / "sound.keras")
    line = ["import", "flowers", "--dry-run"]
    done = keras_mlreg(*line, "sound.keras", cwd=tmp_path, FORKED_EXAMINER="1")
    assert done.status == 0, done.stderr
    for said in ("sound.keras", "sha256", "flowers, preset baseline", "next version of 'flowers'"):
        assert said in done.stdout
    archive(tmp_path / "mismatch.keras", members(model(dense(units=4))))
    done = keras_mlreg(*line, "mismatch.keras", cwd=tmp_path, FORKED_EXAMINER="1")
    assert_error(done, 6, "Keras cannot load the file")


# --- with Keras ---------------------------------------------------------------------------------


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["lambda-activation", "lambda-layer", "pickled"])
def test_the_hostile_files_do_run_their_code(keras, watched, tmp_path, name):
    """Loaded without checks, they trigger the canary."""
    file = tmp_path / "model.keras"
    HOSTILE[name][1](file, watched)
    if name == "pickled":
        pickle.loads(file.read_bytes())
    else:
        keras.saving.load_model(file, safe_mode=False)(np.zeros((1, 2), "float32"))
    assert watched.touched.exists()


def architectures(keras):
    """One model after another that Keras makes of layers of its own; name -> how it is built."""
    layers, ops = keras.layers, keras.ops

    def chain(shape, *parts, dtype="float32"):
        return keras.Sequential([layers.Input(shape, dtype=dtype), *parts])

    def operations():
        inputs = layers.Input((8,))
        made = ops.sin(inputs) + inputs * 2 - 1 / (ops.abs(inputs) + 1)
        made = ops.relu(ops.concatenate([made, inputs], axis=-1)[:, :4])
        made = ops.where(made > 0, made, -ops.mean(made, axis=-1, keepdims=True))
        last = layers.Dense(
            3, "softmax", kernel_regularizer="l2", kernel_constraint="max_norm",
            kernel_initializer=keras.initializers.HeNormal(seed=3),
        )  # fmt: skip
        return keras.Model(inputs, last(made))

    def attention():
        inputs = layers.Input((6, 8))
        made = layers.MultiHeadAttention(2, 4)(inputs, inputs)
        made = layers.Add()([layers.GroupQueryAttention(4, 4, 2)(made, made), inputs])
        made = layers.Attention()([layers.AdditiveAttention()([made, made]), made])
        return keras.Model(inputs, layers.Concatenate()([layers.LayerNormalization()(made), made]))

    def nested():
        inner = chain((4,), layers.Dense(3), layers.BatchNormalization())
        middle = layers.Input((3,))
        outer = keras.Model(middle, layers.Dense(2)(middle))
        inputs = layers.Input((4,))
        return keras.Model(inputs, outer(inner(inputs)))

    def compiled(optimizer):
        made = operations()
        made.compile(
            optimizer,
            keras.losses.sparse_categorical_crossentropy,
            ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
        )
        return made

    def adapted():
        words = layers.TextVectorization()
        words.adapt(["a word", "and a word"])
        return chain((1,), words, layers.Embedding(9, 4), layers.Flatten(), dtype="string")

    def quantized():
        made = chain((16,), layers.Dense(8), layers.Dense(3))
        made.quantize("int8")
        return made

    image, sequence = (8, 8, 3), (6, 4)
    yield "operations", operations
    yield "attention", attention
    yield "nested", nested
    yield "adapted text", adapted
    yield "quantized", quantized
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    for name in ("Adam", "SGD", "RMSprop", "AdamW", "Lion", "Nadam", "Adafactor", "Muon"):
        yield name, lambda name=name: compiled(getattr(keras.optimizers, name)(schedule))
    yield (
        "loss scale",
        lambda: compiled(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())),
    )
    yield "preprocessing", lambda: chain(
        image, layers.Rescaling(1 / 255), layers.RandomFlip(),
        layers.Normalization(mean=[1, 2, 3.0], variance=[1.0] * 3),
        layers.RandomTranslation(0.1, 0.1), layers.RandomRotation(0.1), layers.RandomContrast(0.1),
        layers.Resizing(9, 9), layers.CenterCrop(6, 6),
    )  # fmt: skip
    yield "convolutions", lambda: chain(
        image, layers.Conv2D(4, 3), layers.PReLU(), layers.BatchNormalization(),
        layers.SeparableConv2D(4, 2), layers.DepthwiseConv2D(2), layers.GroupNormalization(2),
        layers.SpatialDropout2D(0.1), layers.SpectralNormalization(layers.Conv2D(2, 1)),
        layers.Activation("gelu"), layers.Activation(keras.activations.swish),
        layers.Conv2DTranspose(2, 2), layers.UpSampling2D(), layers.ZeroPadding2D(),
        layers.MaxPooling2D(), layers.GlobalAveragePooling2D(), layers.Dropout(0.2),
        layers.Softmax(),
    )  # fmt: skip
    yield "augmentation", lambda: chain(
        image, layers.RandAugment(value_range=(0, 255)), layers.AugMix(value_range=(0, 255)),
        layers.CutMix(), layers.RandomColorJitter(value_range=(0, 255)), layers.RandomErasing(),
    )  # fmt: skip
    yield "recurrent", lambda: chain(
        sequence, layers.Masking(), layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(2)), layers.GRU(3, return_sequences=True),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2), layers.SimpleRNNCell(2)]),
    )  # fmt: skip
    yield "einsum", lambda: chain(
        sequence, layers.EinsumDense("abc,cd->abd", output_shape=(None, 3), bias_axes="d"),
        layers.Conv1D(2, 2), layers.Permute((2, 1)), layers.Reshape((-1,)),
    )  # fmt: skip
    yield (
        "tables",
        lambda: chain((5,), layers.Discretization([0.0, 1.0]), layers.CategoryEncoding(9)),
    )
    yield "hashing", lambda: chain((5,), layers.Hashing(1_000_000_000))
    yield "numbers looked up", lambda: chain((5,), layers.IntegerLookup(vocabulary=[1, 2]))
    yield "half precision", lambda: chain((5,), layers.Dense(2, dtype="mixed_float16"))
    yield "bfloat16", lambda: chain((5,), layers.Dense(2, dtype="bfloat16"))
    for name in ("MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", "MobileNetV3Small"):
        application = getattr(keras.applications, name)
        yield name, lambda make=application: make(weights=None, input_shape=(32, 32, 3), classes=4)


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("first", range(6))
def test_models_of_keras_layers_are_accepted(training, keras, tmp_path, first):
    """No model that Keras saves is refused as hostile or too large; one in six of them here."""
    backend, refused = training.KerasBackend(RunConfig(deterministic=False)), {}
    for name, build in [*architectures(keras)][first::6]:
        file = tmp_path / f"{name}.keras"
        build().save(file)
        try:
            loaded = backend.load(file, inspect(file).numbers)
            assert math.prod(loaded.input_shape[1:]) > 0
        except MlregError as error:
            refused[name] = str(error)
    assert refused == {}


@pytest.mark.tensorflow
def test_a_model_that_is_larger_than_its_weights_is_never_built(training, tmp_path):
    """A layer of 10^12 units would fill any memory before Keras notices missing weights."""
    file = tmp_path / "model.keras"
    archive(file, members(model(dense(units=10**12))))
    backend = training.KerasBackend(RunConfig())
    with pytest.raises(IntegrityError, match=r"3,000,000,000,000 numbers, but holds 9"):
        backend.load(file, inspect(file).numbers)


@pytest.mark.tensorflow
def test_a_refused_model_leaves_nothing_for_keras_to_build_later(training, keras, tmp_path):
    """Keras remembers variables without values, and makes them with the next model's."""

    class Same(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    file = tmp_path / "model.keras"
    archive(file, members(model(dense(units=10**12))))
    with pytest.raises(IntegrityError):
        training.KerasBackend(RunConfig()).load(file, inspect(file).numbers)
    built = keras.Sequential([keras.layers.Input((2,)), Same(), keras.layers.Dense(3)])
    assert built.count_params() == 9


def held_against(training, keras, outputs, targets, class_names=(), **compiled):
    """What `check_compatibility` says of a model with that many outputs, on two numbers."""
    built = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(outputs)])
    if compiled:
        built.compile("adam", **compiled)
    split = ArraySplit(np.zeros((len(targets), 2), "float32"), targets)
    backend = training.KerasBackend(RunConfig())
    data = DataSplits(split, split, class_names=tuple(class_names))
    return backend.check_compatibility(built, data)


@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_loss_fits_the_targets(training, keras):
    """Numbers: squared error. Classes: cross-entropy, sparse or one-hot."""
    numbers, pairs = np.zeros(8, "float32"), np.zeros((8, 2), "float32")
    held = partial(held_against, training, keras)
    assert held(1, numbers) == "mean_squared_error of its outputs"
    assert held(2, pairs) == "mean_squared_error of its outputs"
    assert held(2, pairs, loss="mae") == "its own mean_absolute_error"
    assert held(1, numbers, loss=keras.losses.Huber()) == "its own huber_loss"
    columns = np.eye(2, dtype="float32")[[0, 1] * 4]
    said = held(2, columns, "ab")
    assert said == "categorical_crossentropy of its outputs as logits"
    said = held(2, columns, "ab", loss="mse", metrics=["accuracy"])
    assert said == "its own mean_squared_error"
    said = held(2, np.array([[0], [1]] * 4), "ab", loss="mse", metrics=["accuracy"])
    assert said == "sparse_categorical_crossentropy of its outputs as logits"
    said = held(1, np.array([0, 1] * 4), "ab")
    assert said == "binary_crossentropy of its outputs as logits"
    said = held(1, np.array([0, 1] * 4), "ab", loss="sparse_categorical_crossentropy")
    assert said == "binary_crossentropy of its outputs as logits"
    with pytest.raises(UsageError, match=r"shape \(3,\), but the targets have \(2,\)"):
        held(3, pairs)
    with pytest.raises(UsageError, match=r"shape \(3,\), but the targets have \(\)"):
        held(3, numbers, loss="mse")


@pytest.fixture(scope="module")
def project(keras, tmp_path_factory):
    """A folder with models of two inputs and three classes, and with others that do not fit."""
    folder = tmp_path_factory.mktemp("spirals")
    shutil.copy(EXAMPLE, folder)
    write_toml(folder, {"spirals": "spirals"}, registry="registry")
    layers = keras.layers

    def made(*parts, outputs=3, inputs=2, activation=None, **compiled):
        parts = [layers.Input((inputs,)), *parts, layers.Dense(outputs, activation)]
        built = keras.Sequential(parts)
        if compiled:
            built.compile("adam", **compiled)
        return built

    sparse = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    functional = made(layers.Dense(4))
    models = {
        "logits": made(),
        "probabilities": made(activation="softmax"),
        "functional": keras.Model(functional.inputs, functional(functional.inputs[0])),
        "normalized": made(
            layers.Normalization(), layers.BatchNormalization(), layers.Dropout(0.5)
        ),
        "own-loss": made(loss=sparse, metrics=["accuracy"]),
        "own-loss-without-accuracy": made(loss=sparse),
        "other-loss": made(loss="mse", metrics=["mae"]),
        "wrong-inputs": made(inputs=5),
        "wrong-classes": made(outputs=4),
        "two-outputs": keras.Model(functional.inputs, [functional.outputs[0]] * 2),
    }
    for name, each in models.items():
        each.save(folder / f"{name}.keras")
    sound(folder / "made-by-hand.keras")
    archive(folder / "mismatch.keras", members(model(dense(units=4))))
    archive(folder / "larger.keras", members(model(dense(units=10**12))))
    return folder


@pytest.fixture(scope="module")
def imported(project):
    """Imports one of the models: name -> how its command ended, which runs when it is asked for."""

    @cache
    def run(name):
        line = f"import spirals {name}.keras --name {name} --json"
        return keras_mlreg(*line.split(), cwd=project, FORKED_EXAMINER="1")

    return run


@pytest.fixture(scope="module")
def used(project, imported):
    """A model that was trained here, exported, imported again and used: name -> how it ended."""
    ended = {"folder": project, "logits": imported("logits")}

    def run(keras=True, **lines):
        words = [line.split() for line in lines.values()]
        told = in_turn(words, project, keras, FORKED_EXAMINER="1")
        ended.update(zip(lines, told, strict=True))

    # an import first in its process, as nothing of TensorFlow may run before a file is examined
    run(
        run="run spirals --preset quick --json",
        export="export spirals@1 -o trained.keras",
    )
    run(
        trained="import spirals trained.keras --preset quick --json",
        again="export spirals@2 -o again.keras",
        h5="export spirals@2 --format h5 -o model.h5",
        figures="export spirals@2 --format figures -o figures",
        evaluate_trained="evaluate spirals@1",
        evaluate_imported="evaluate spirals@2 --json",
        evaluate_compiled="evaluate logits --json",
        evaluate_validation="evaluate spirals@1 --split validation --json",
        evaluate_holdout="evaluate spirals@1 --split holdout",
    )
    run(
        keras=False,
        list="list spirals",
        show="show spirals@2",
        promote="promote spirals 2 production",
        compare="compare spirals@1 spirals@2 --json",
        verify="verify",
        history="history --json",
    )
    return ended


SPARSE = "sparse_categorical_crossentropy of its outputs as"


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("logits", f"{SPARSE} logits"),
        ("probabilities", f"{SPARSE} probabilities"),
        ("made-by-hand", f"{SPARSE} probabilities"),
        ("functional", f"{SPARSE} logits"),
        ("normalized", f"{SPARSE} logits"),
        ("own-loss", "its own sparse_categorical_crossentropy"),
        ("own-loss-without-accuracy", f"{SPARSE} logits"),
        ("other-loss", f"{SPARSE} logits"),
    ],
)
def test_a_model_is_evaluated_with_a_loss_that_fits_the_classes(imported, project, name, loss):
    """Its own if that fits; else one for probabilities or logits."""
    assert imported(name).status == 0, imported(name).stderr
    version = imported(name).json["version"]
    assert set(version["metrics"]) == {"test_accuracy", "test_loss"}
    store = Store(project / "registry")
    registered = newest(store, name)
    assert store.manifest(registered)["imported"]["loss"] == loss
    digest = sha256((project / f"{name}.keras").read_bytes()).hexdigest()
    assert registered.file("model.keras").sha256 == digest


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "status", "named"),
    [
        ("wrong-inputs", 2, ["float32 of shape (5,)", "float32 of shape (2,)"]),
        ("wrong-classes", 2, ["shape (4,)", "3 classes"]),
        ("two-outputs", 2, ["2 outputs"]),
        ("mismatch", 6, ["Keras cannot load the file"]),
        ("larger", 6, ["3,000,000,000,000 numbers, but holds 9"]),
    ],
)
def test_a_model_that_does_not_fit_is_refused(imported, project, name, status, named):
    """The message has the shapes of the model and of the dataset; nothing is registered."""
    assert_error(imported(name), status, *named)
    assert name not in [each.name for each in Store(project / "registry").models()]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_registered_model_can_be_exported_and_imported_again(used):
    """Same bytes, digest and metrics."""
    folder = used["folder"]
    trained, imported = (used[name].json["version"] for name in ("run", "trained"))
    assert (imported["ref"], imported["metrics"]) == ("spirals@2", trained["metrics"])
    contents = [(folder / name).read_bytes() for name in ("trained.keras", "again.keras")]
    assert contents[0] == contents[1]
    (difference,) = used["compare"].json["differences"]
    assert (difference["gained"], difference["lost"]) == ([], [])


@pytest.mark.gate
@pytest.mark.tensorflow
def test_an_imported_version_works_like_any_other(used):
    """It is listed, shown, promoted, exported in every form, verified, and loaded."""
    for name in ("list", "show", "promote", "compare", "h5", "figures", "verify"):
        assert used[name].status == 0, used[name].stderr
    assert "imported" in used["list"].stdout
    assert "trained.keras" in used["show"].stdout
    assert "epochs" not in used["show"].stdout
    folder = used["folder"]
    assert [path.name for path in (folder / "figures").iterdir()] == ["confusion_matrix.png"]
    assert zipfile.is_zipfile(folder / "again.keras")
    from registry_core import open_registry

    loaded = open_registry(folder / "registry").load("spirals@production")
    assert loaded.predict(np.zeros((1, 2), "float32"), verbose=0).shape == (1, 3)


@pytest.mark.gate
@pytest.mark.tensorflow
def test_reevaluation_gives_the_recorded_metrics(used):
    """For a trained model, an imported one, and one compiled by the import."""
    trained = used["evaluate_trained"]
    assert trained.status == 0, trained.stderr
    assert "identical: 0 answers differ" in trained.stdout
    for name in ("evaluate_imported", "evaluate_compiled"):
        found = used[name].json
        assert (found["verdict"], found["changed"]) == ("identical", []), used[name].stdout
        assert found["metrics"] == found["recorded"] == found["version"]["metrics"]
    elsewhere = used["evaluate_validation"].json
    assert (elsewhere["examples"], elsewhere["verdict"]) == (500, "not recorded")
    assert_error(used["evaluate_holdout"], 2, "No split 'holdout'", "test, validation, train")
    assert {row["action"] for row in used["history"].json["history"]} == {
        "registered",
        "promoted",
    }
