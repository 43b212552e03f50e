"""`mlreg export` to ONNX, LiteRT and 8-bit integers: run on test examples, measured, refused."""

import errno
import json
import os
import shutil
import signal
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import assert_error, fill, in_turn
from fakes import write_plugin, write_settings
from model_families import families
from store_helpers import record

from registry_core.cli import run_command
from registry_core.errors import Interrupted, UsageError
from registry_core.exports import FORMATS
from registry_core.process import requirements
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.types import ArraySplit, IndexedSplit, StreamSplit

# A small network that learns which half of a picture is bright.
PLUGIN = """
from registry_core import ArraySplit, DataSplits, RunConfig, hookimpl


@hookimpl
def mlreg_presets():
    return {"tiny": RunConfig(epochs=2, batch_size=20)}


@hookimpl
def mlreg_dataset(config, data_dir):
    import numpy as np

    def split(count, seed):
        random = np.random.default_rng(seed)
        targets = random.integers(0, 2, count)
        images = random.integers(0, 120, (count, 8, 8, 3))
        images[targets == 0, :4] += 60
        images[targets == 1, 4:] += 60
        return ArraySplit(images.astype("uint8"), targets)

    if data_dir is not None:
        raise RuntimeError("no data there")
    return DataSplits(split(400, 1), split(230, 2), None, ("upper", "lower"))


@hookimpl
def mlreg_model(config):
    import keras

    layers = keras.layers
    made = keras.Sequential([
        keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(6, 3, activation="relu"),
        layers.BatchNormalization(), layers.Flatten(), layers.Dense(2, activation="softmax"),
    ])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in whose registry `halves@1` was trained by the plugin beside plugins.toml."""
    folder = tmp_path_factory.mktemp("project")
    write_plugin(folder, "halves_plugin", PLUGIN)
    write_settings(folder, {"halves": "halves_plugin"}, registry="registry")
    (done,) = in_turn([["run", "halves", "--json"]], folder, keras=True)
    assert done.status == 0, done.stderr
    return folder


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_each_format_is_run_on_test_examples(project, tmp_path):
    """The command says how far its outputs are from Keras's, how large it is, how long it takes.

    Converters print nothing, and leave no files in the folder for temporary ones.
    """
    (scratch := tmp_path / "scratch").mkdir()
    forms = ("onnx", "litert", "savedmodel")
    lines = [["export", "halves@1", "--format", form, "--json"] for form in forms]
    lines.append(["export", "halves@1", "-o", "halves.h5"])
    environment = {"MLREG_HOME": str(project / "registry"), "TMPDIR": str(scratch)}
    for file in ("plugins.toml", "halves_plugin.py"):
        (tmp_path / file).write_bytes((project / file).read_bytes())
    *answers, shown = in_turn(lines, tmp_path, keras=True, **environment)
    for form, done in zip(forms, answers, strict=True):
        assert done.status == 0, done.stderr
        assert set(done.stderr.splitlines()) <= {
            "Loading the data …", f"Writing and running {form} …"
        }, done.stderr  # fmt: skip
        written, check = json.loads(done.stdout), json.loads(done.stdout)["check"]
        assert (check["inputs"], check["examples"], check["reason"]) == ("test split", 100, "")
        assert 0 <= check["largest_difference"] <= check["tolerance"] * check["largest_output"]
        assert check["milliseconds"] > 0
        assert check["keras_milliseconds"] > 0
        assert check["int8"] is check["batch"] is None
        path = tmp_path / written["path"]
        sizes = [each.stat().st_size for each in (path, *path.rglob("*")) if each.is_file()]
        assert check["size"] == sum(sizes)
    assert json.loads(answers[2].stdout)["path"] == "halves-savedmodel/1"
    assert "Run on 100 examples of the test split: outputs differ by at most" in shown.stdout
    assert "One example: " in shown.stdout
    assert list(scratch.iterdir()) == []


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_8_bit_integers_are_tested_against_the_float_model(project, tmp_path):
    """On every test example, so that the loss is a figure with an interval."""
    words = ["export", "halves@1", "--int8", "--format", "litert"]
    done, shown, elsewhere, wrong = in_turn(
        [
            [*words, "-o", str(tmp_path / "small.tflite"), "--json"],
            [*words, "-o", str(tmp_path / "shown.tflite")],
            ["export", "halves@1", "--format", "onnx", "-o", str(tmp_path / "there.onnx"),
             "--data-dir", str(tmp_path)],
            ["export", "halves@1", "--int8", "-o", str(tmp_path / "small.onnx")],
        ],
        project,
        keras=True,
    )  # fmt: skip
    assert done.status == 0, done.stderr
    check = json.loads(done.stdout)["check"]
    int8, compared = check["int8"], check["int8"]["comparison"]
    assert check["tolerance"] is None
    assert check["size"] < check["keras_size"]
    assert (int8["method"], int8["calibration_examples"]) == ("full integer", 300)
    assert (compared["test"], compared["examples"]) == ("exact McNemar", 230)
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert int8["quantized"] - int8["float"] == pytest.approx(compared["difference"])
    assert int8["float"] > 0.6
    assert "int8 against float: accuracy" in shown.stdout
    assert "95 % interval" in shown.stdout
    assert_error(elsewhere, 3, "no data there")  # data that was asked for is not left out
    assert_error(wrong, 2, "--int8 is for litert exports", "Leave out --int8")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["shown.tflite", "small.tflite"]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.processes
def test_without_the_plugin_generated_inputs_do(project, tmp_path):
    """The output says so, and why; 8-bit integers need the data."""
    environment = {"MLREG_HOME": str(project / "registry")}
    lines = [
        ["export", "halves@1", "-o", "halves.onnx", "--json"],
        ["export", "halves@1", "-o", "shown.onnx"],
        ["export", "halves@1", "-o", "halves.tflite", "--int8"],
    ]
    done, shown, int8 = in_turn(lines, tmp_path, keras=True, **environment)
    assert done.status == 0, done.stderr
    check = json.loads(done.stdout)["check"]
    assert check["inputs"] == "generated"
    assert "the plugin 'halves'" in check["reason"]
    assert "inputs made from its signature" in shown.stdout
    assert "Not on the test split: " in shown.stdout
    assert_error(int8, 3, "the plugin 'halves'")
    assert not (tmp_path / "halves.tflite").exists()


# --- in this process ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """A family's model in a file, by the family's name."""
    folder, known = tmp_path_factory.mktemp("saved"), families(keras)

    @cache
    def save(name):
        known[name][1]().save(folder / f"{name}.keras")
        return folder / f"{name}.keras"

    return save


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate(keep=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("form", ["onnx", "litert"])
@pytest.mark.parametrize("wrong", ["another number", "not a number", "one class less"])
def test_a_wrong_export_is_refused(training, saved, tmp_path, monkeypatch, form, wrong):
    """Also where a library runs it without an error."""
    load = training.model_export.load_exported

    def distorted(*arguments):
        exported = load(*arguments)
        predict = exported._predict

        def other(*inputs):
            outputs = [np.array(each) for each in predict(*inputs)]
            if wrong == "one class less":
                return [each[:, :-1] for each in outputs]
            outputs[0][3, 0] = np.nan if wrong == "not a number" else outputs[0][3, 0] + 0.1
            return outputs

        exported._predict = other
        return exported

    monkeypatch.setattr(training.model_export, "load_exported", distorted)
    with pytest.raises(UsageError, match="outputs of the export differ") as caught:
        training.export_model(saved("convolutions"), form, tmp_path / f"model{FORMATS[form]}")
    assert "keras holds every model" in caught.value.remedy


@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_model_that_does_not_follow_the_float_one_is_refused(
    training, saved, tmp_path, monkeypatch
):
    """Rounding is allowed with --int8; another model is not, and neither is a constant."""
    follows = training.model_export._follows
    random = np.random.default_rng(0)
    floats = [random.normal(size=(100, 10)).astype("float32")]
    rounded = [np.round(floats[0] * 16) / 16]
    assert follows(floats, rounded)
    for other in (
        np.zeros_like(floats[0]),
        -floats[0],
        floats[0][::-1],
        np.full_like(floats[0], np.nan),
        floats[0][:, :9],
    ):
        assert not follows(floats, [other])


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_recurrent_layers_get_8_bit_weights_alone(training, saved, tmp_path):
    """LiteRT's calibrator would end the process. It takes one example at a time, and says so."""
    inputs = np.random.default_rng(0).normal(size=(20, 6, 4)).astype("float32")
    check, exported, way = training.export_model(
        saved("recurrent"), "litert", tmp_path / "model.tflite", inputs, "", inputs
    )
    assert way.method == "dynamic range"
    assert "Bidirectional" in way.reason
    assert (check.inputs, check.examples, check.tolerance) == ("test split", 20, None)
    assert check.batch == exported.batch == 1


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("form", "named"), [("onnx", "StaticRegexReplace"), ("litert", "FlexStringLower")]
)
def test_text_models_are_refused_with_what_would_work(training, saved, tmp_path, form, named):
    """The layer and the operation that the format lacks are named, and other formats."""
    with pytest.raises(UsageError, match="TextVectorization") as caught:
        training.export_model(saved("adapted text"), form, tmp_path / "model.tflite")
    assert named in caught.value.what
    assert "savedmodel" in caught.value.remedy


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("form", ["h5", "savedmodel", "onnx", "litert"])
def test_a_datasets_inputs_are_adapted_as_keras_does(training, keras, tmp_path, form):
    """By name, with a last axis of size 1, from another type of number."""
    inputs = {name: keras.Input((1,), name=name) for name in ("b", "a")}
    joined = keras.layers.Concatenate()([inputs["b"], inputs["a"]])
    keras.Model(inputs, keras.layers.Dense(3)(joined)).save(tmp_path / "model.keras")
    given = {"a": np.arange(7, dtype="int32"), "b": np.arange(7.0)[::-1], "unused": np.zeros(7)}
    written = tmp_path / f"model{FORMATS[form]}"
    check, *_ = training.export_model(tmp_path / "model.keras", form, written, given)
    assert check.examples == 7
    assert check.largest_difference < 1e-5


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("error", ["the file system's", "TensorFlow's"])
def test_a_full_disk_is_no_fault_of_the_model(training, saved, tmp_path, monkeypatch, error, tf):
    """It becomes a storage error (status 8)."""
    raised = OSError(errno.ENOSPC, "No space left on device")
    if error == "TensorFlow's":
        raised = tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def fail(*arguments, **settings):
        raise raised

    monkeypatch.setattr(training.export_writers, "_export", fail)
    with pytest.raises(OSError, match="No space left"):
        training.export_model(saved("convolutions"), "litert", tmp_path / "model.tflite")


@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_signal_during_conversion_leaves_nothing(training, saved, tmp_path, monkeypatch):
    """Neither a draft nor a stream that leads nowhere."""
    registry = Registry(tmp_path / "registry", Settings())
    with registry.store.start_run("toy") as run:
        shutil.copyfile(saved("convolutions"), run.files / "0")
        registry.store.publish(run, record(), {"model.keras": run.files / "0"}, lambda paths: None)

    def interrupted(*arguments, **settings):
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(training.export_writers, "_export", interrupted)
    before = sys.stdout, sys.stderr, os.fstat(1), os.fstat(2)
    for name in ("model.tflite", "model.onnx"):
        with pytest.raises(Interrupted):
            registry.export("toy@1", output=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]
    assert (sys.stdout, sys.stderr, os.fstat(1), os.fstat(2)) == before


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["arrays", "by index", "a stream"])
def test_calibration_sees_the_whole_training_split(training, tf, kind):
    """A split that is ordered by class would else give the ranges of the first classes."""
    inputs, targets = np.arange(1000.0, dtype="float32")[:, None], np.zeros(1000, "int64")
    split = ArraySplit(inputs, targets)
    if kind == "by index":
        split = IndexedSplit(list(zip(inputs, targets, strict=True)), fingerprint="x")
    elif kind == "a stream":
        split = StreamSplit(tf.data.Dataset.from_tensor_slices((inputs, targets)), 1000, "x")
    found = np.asarray(training.spread_inputs(split, 10)).ravel()
    expected = np.arange(10) if kind == "a stream" else np.arange(0, 1000, 100)
    assert found.tolist() == expected.tolist()
    assert len(training.spread_inputs(split, 5000)) == 1000


# --- without TensorFlow ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "missing", "named"),
    [
        ("onnx", {"tf2onnx"}, "The format onnx needs tf2onnx, which is not installed."),
        (
            "onnx",
            {"onnx", "onnxruntime"},
            "The format onnx needs onnx and onnxruntime, which are not installed.",
        ),
        (
            "litert",
            {"ai_edge_litert"},
            "The format litert needs ai-edge-litert, which is not installed.",
        ),
    ],
)
def test_a_missing_extra_is_named_before_any_work(
    tmp_path, monkeypatch, capsys, form, missing, named
):
    """With the command that installs it; nothing was read or written."""
    store = fill(tmp_path / "registry", 0.5)
    found = requirements.is_installed
    monkeypatch.setattr(requirements, "is_installed", lambda name: name not in missing)
    monkeypatch.setattr(type(store), "copy_out", lambda *_: pytest.fail("it was read"))
    words = ["--registry", str(store.folder), "export", "flowers@1", "--format", form]
    assert run_command([*words, "-o", "made"]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert f"pip install 'mlreg[{form}]'" in error
    assert not Path("made").exists()
    assert found("pytest")


@pytest.mark.parametrize("form", ["keras", "h5", "savedmodel", "onnx", "figures"])
def test_8_bit_integers_are_refused_for_other_formats(tmp_path, capsys, form):
    """Both remedies are named, and the next command can be typed."""
    store = fill(tmp_path / "registry", 0.5)
    words = ["--registry", str(store.folder), "export", "flowers@1", "--format", form, "--int8"]
    assert run_command([*words, "-o", "made"]) == 2
    error = capsys.readouterr().err
    assert f"--int8 is for litert exports; this one is {form}." in error
    assert "Leave out --int8, or add --format litert." in error
    assert "mlreg export flowers@1 --format litert --int8 -o made.tflite" in error
