"""`mlreg run`, as a process: what it refuses before TensorFlow is imported, and what it trains."""

import io
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import zipfile
from functools import cache
from pathlib import Path

import pytest
from cli_helpers import (
    EXAMPLE,
    VERSION_KEYS,
    Done,
    assert_error,
    fill,
    in_turn,
    keras_mlreg,
    mlreg,
    process_environment,
    python,
    start,
    without_roots_rights,
)
from fakes import TABLE_PLUGIN, write_distribution, write_plugin, write_settings
from store_helpers import leftovers

from registry_core.refs import Ref
from registry_core.store import Store

pytestmark = pytest.mark.processes

# --- what is refused before TensorFlow is imported ------------------------------------------

IMPORTED = "tensorflow was imported"


def _dataset(body: str) -> str:
    """The flowers plugin with another end of `mlreg_dataset`."""
    start, end = TABLE_PLUGIN.split("    return DataSplits(")
    return f"{start}    {body}\n\n\n@hookimpl\ndef mlreg_model{end.split('def mlreg_model')[1]}"


def _presets(body: str) -> str:
    return TABLE_PLUGIN.replace("def mlreg_presets():\n", f"def mlreg_presets():\n    {body}\n")


SPLITS = "return DataSplits(split(30), {test}, class_names=('a', 'b', 'c'))"
TEST = "x, y = np.ones((4, 2), 'float32'), np.arange(4) % 3; {spoil}; " + SPLITS.format(
    test="ArraySplit(x, y)"
)

# name -> the module's text
FAULTY = {
    "raises": "import math\n\nmath.sqrt(-1)\n",
    "exits": "raise SystemExit('no thanks')",
    "unparsable": "def mlreg_presets(:\n    pass\n",
    "needy": "import a_module_that_nobody_has",
    "misspelt": TABLE_PLUGIN + "\n\n@hookimpl\ndef mlreg_agmentation():\n    pass\n",
    "unmarked": TABLE_PLUGIN.replace("@hookimpl\ndef mlreg_model", "def mlreg_model"),
    "modelless": TABLE_PLUGIN[: TABLE_PLUGIN.rindex("@hookimpl")],
    "greedy": TABLE_PLUGIN.replace("(config, data, learning", "(config, dta, learning"),
    "presets_raise": _presets("raise ValueError('no presets today')"),
    "presets_exit": _presets("raise SystemExit(0)"),
    "presets_none": _presets("return None"),
    "presets_empty": _presets("return {}"),
    "presets_wrong": _presets("return {'quick': {'epochs': 3}}"),
    "dataset_raises": _dataset("raise ValueError('no data today')"),
    "dataset_exits": _dataset("raise SystemExit"),
    "dataset_none": _dataset("return None"),
    "dataset_refuses": _dataset(
        "from registry_core import DataError; raise DataError('There is no server.', 'Wait.')"
    ),
    "labels": _dataset(TEST.format(spoil="y[2] = 3")),
    "negative": _dataset(TEST.format(spoil="y[1] = -1")),
    "nan": _dataset(TEST.format(spoil="x[3, 1] = np.nan")),
    "empty": _dataset(TEST.format(spoil="x, y = x[:0], y[:0]")),
    "lengths": _dataset(TEST.format(spoil="y = y[:3]")),
    "shapes": _dataset(TEST.format(spoil="x = np.ones((4, 3), 'float32')")),
    "dtype": _dataset(TEST.format(spoil="x = x.astype(object)")),
    "floats": _dataset(TEST.format(spoil="y = y + 0.5")),
    "lists": _dataset(TEST.format(spoil="y = y.tolist()")),
    "absent": "",
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A project with one plugin that is sound and many that are not; and no TensorFlow.

    What is imported in its place says so and ends the process.
    """
    folder = tmp_path_factory.mktemp("bare")
    for module in ("tensorflow", "keras"):
        write_plugin(folder / "in_place_of", module, f"raise SystemExit({IMPORTED!r})")
    write_plugin(folder, "flowers_plugin", TABLE_PLUGIN)
    for name, text in FAULTY.items():
        write_plugin(folder, f"{name}_plugin", text)
    (folder / "absent_plugin.py").unlink()
    plugins = {name: f"{name}_plugin" for name in ("flowers", *FAULTY)}
    write_settings(folder, plugins, registry="registry")
    (folder / "a file").write_text("in the way")
    return folder


def without_tensorflow(bare: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(bare / "in_place_of")}


# words after `mlreg run` -> exit status, and what is told
REFUSED = [
    ("nothing_like_it", 2, ["'nothing_like_it'", "flowers"]),
    ("flower", 2, ["'flower'", "Did you mean 'flowers'?", "Try: mlreg run flowers"]),
    ("flowers --preset quik", 2, ["'quik'", "Did you mean 'quick'?", "baseline, quick"]),
    (
        "flowers -p learning_rat=1",
        2,
        ["mean 'learning_rate'? Settings: ", "-p learning_rate=1"],
    ),
    ("flowers -p units=many", 2, ["units=many", "a whole number", "the preset has 8"]),
    ("flowers -p learning_rate=nan", 2, ["learning_rate=nan", "finite"]),
    ("flowers -p units", 2, ["'units' is not key=value", "-p batch_size=64"]),
    ("flowers -p units=1 -p units=2", 2, ["'units' is set twice"]),
    ("flowers --epochs 0", 2, ["epochs=0", "is above 0"]),
    ("flowers --epochs many", 2, ["many", "mlreg run --help"]),
    ("flowers --epochs 2 -p epochs=3", 2, ["'epochs' is set twice"]),
    ("flowers --seed -1", 2, ["seed=-1"]),
    ("flowers --seeds 1", 2, ["--seeds 1 is too few", "2 to 1,000", "--seeds 5"]),
    ("flowers --seeds 1001", 2, ["--seeds 1,001", "2 to 1,000"]),
    ("flowers --seeds many", 2, ["many", "mlreg run --help"]),
    ("flowers --seeds 3 -p seed=2147483646", 2, ["goes beyond 2147483647", "--seed 0 --seeds 3"]),
    ("flowers --seeds 3 --show", 2, ["--show", "Use one of the two"]),
    ("absent --seeds 3", 3, ["'absent' is not installed"]),
    ("labels --seeds 3 --seed 4", 4, ["Run 1 of 3, seed 4: ", "example 2 has label 3"]),
    ("flowers --name Flowers", 2, ["'Flowers'", "a-z first"]),
    ("flowers --name latest", 2, ["'latest' is reserved", "latest, best, numbers"]),
    ("flowers --name v1", 2, ["'v1' is reserved"]),
    ("flowers --data-dir nowhere", 2, ["nowhere does not exist"]),
    ("absent", 3, ["'absent' is not installed", "absent_plugin.py beside plugins.toml"]),
    ("raises", 3, ["'raises' cannot be imported", "ValueError", "raises_plugin.py, line 3"]),
    ("exits", 3, ["'exits' cannot be imported", "exits_plugin.py, line 1"]),
    ("unparsable", 3, ["SyntaxError", "unparsable_plugin.py, line 1"]),
    ("needy", 3, ["'needy' needs", "package that provides 'a_module_that_nobody_has'"]),
    ("misspelt", 3, ["mlreg_agmentation", "Did you mean 'mlreg_augmentation'?"]),
    ("unmarked", 3, ["mlreg_model", "Write @hookimpl above it", "unmarked_plugin.py, line"]),
    ("modelless", 3, ["'modelless'", "lacks the hook mlreg_model"]),
    ("greedy", 3, ["'greedy'", "dta"]),
    ("presets_raise", 3, ["no presets today", "mlreg_presets", "presets_raise_plugin.py, line"]),
    ("presets_exit", 3, ["SystemExit", "mlreg_presets", "presets_exit_plugin.py, line"]),
    ("presets_none", 3, ["mlreg_presets of presets_none returned None", "Expected", "Mapping"]),
    ("presets_empty", 3, ["no preset"]),
    ("presets_wrong", 3, ["mlreg_presets", "returned dict", "RunConfig"]),
    ("dataset_raises", 3, ["no data today", "mlreg_dataset", "dataset_raises_plugin.py, line"]),
    ("dataset_exits", 3, ["SystemExit", "mlreg_dataset", "dataset_exits_plugin.py, line"]),
    ("dataset_none", 3, ["mlreg_dataset of dataset_none returned None", "Expected: DataSplits"]),
    ("dataset_refuses", 4, ["There is no server.", "Wait."]),
    ("labels", 4, ["test targets", "(4,)", "example 2 has label 3", "0 to 2"]),
    ("negative", 4, ["test targets", "example 1 has label -1"]),
    ("nan", 4, ["test inputs", "(4, 2)", "example 3"]),
    ("empty", 4, ["test inputs are empty", "(0, 2)"]),
    ("lengths", 4, ["test split has 4 inputs and 3 targets"]),
    ("shapes", 4, ["(30, 2)", "(4, 3)"]),
    ("dtype", 4, ["test inputs have dtype object"]),
    ("floats", 4, ["test targets have dtype float64"]),
    ("lists", 4, ["test targets are list"]),
]


@pytest.fixture(scope="module")
def refusals(bare):
    """What each of those command lines came to: words -> how it ended."""
    lines = [["run", *words.split()] for words, _, _ in REFUSED]
    told = in_turn(lines, cwd=bare, **without_tensorflow(bare))
    return dict(zip([words for words, _, _ in REFUSED], told, strict=True))


@pytest.mark.gate
@pytest.mark.parametrize(
    ("words", "status", "named"), REFUSED, ids=[words for words, *_ in REFUSED]
)
def test_run_refuses_before_tensorflow_is_imported(refusals, words, status, named):
    """Names, values, plugins and data are looked at first; three lines say what is wrong."""
    assert_error(refusals[words], status, *named)
    assert IMPORTED not in refusals[words].stderr


@pytest.mark.gate
def test_what_was_refused_left_nothing(refusals, bare):
    """No version, no model's name, no folder of a run."""
    store = Store(bare / "registry")
    assert store.models() == []
    assert store.ledger() == []
    assert list((bare / "registry" / "runs").iterdir()) == []


@pytest.mark.gate
def test_a_sound_run_would_have_imported_tensorflow(bare):
    """The tests above would have noticed: this run is refused by nothing, and gets that far."""
    done = mlreg("run", "flowers", cwd=bare, **without_tensorflow(bare))
    assert done.status == 1
    assert IMPORTED in done.stderr


@pytest.mark.gate
def test_one_process_ends_as_it_says(bare):
    """The exit status is the process's own, and the error is on stderr alone."""
    assert_error(mlreg("run", "flowers", "--preset", "quik", cwd=bare), 2, "Did you mean 'quick'?")


@pytest.mark.gate
def test_a_registry_that_cannot_be_written_is_refused_first(bare, tmp_path):
    """8 before the data is loaded, naming the folder."""
    elsewhere = without_tensorflow(bare) | {"MLREG_HOME": str(bare / "a file" / "registry")}
    done = mlreg("run", "flowers", cwd=bare, **elsewhere)
    assert_error(done, 8, "a file/registry")
    assert "drawn" not in done.stderr  # what the plugin says when it makes its data

    bound = without_roots_rights()
    folder = fill(tmp_path / "registry", 0.5).folder
    read_only = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in read_only:
        path.chmod(0o500)
    try:
        refused = subprocess.run(
            [*bound, sys.executable, "-m", "registry_core", "run", "flowers"],
            cwd=bare,
            env=process_environment(without_tensorflow(bare) | {"MLREG_HOME": str(folder)}),
            capture_output=True,
            text=True,
        )
    finally:
        for path in read_only:
            path.chmod(0o700)
    assert_error(Done(refused.returncode, refused.stdout, refused.stderr), 8, str(folder))
    assert "drawn" not in refused.stderr


def test_print_config_and_dry_run_show_and_do_nothing(bare):
    """The configuration as `-p` takes it, or as JSON; and what would be trained."""
    override = ["-p", "units=16", "--epochs", "7", "--seed", "3"]
    text, as_json, plan = in_turn(
        [
            ["run", "flowers", *override, "--print-config"],
            ["run", "flowers", *override, "--print-config", "--json"],
            ["run", "flowers", *override, "--name", "roses", "--dry-run"],
        ],
        cwd=bare,
        **without_tensorflow(bare),
    )
    config = {
        "epochs": 7, "batch_size": 10, "seed": 3, "deterministic": True,
        "precision": "float32", "learning_rate": 0.1, "units": 16,
    }  # fmt: skip
    assert as_json.json == {
        "schema": 1, "dataset": "flowers", "preset": "baseline", "config": config,
    }  # fmt: skip
    shown = [line for line in text.stdout.splitlines() if not line.startswith("#")]
    given = dict(line.split("=") for line in shown)
    assert given.pop("precision") == config.pop("precision")  # a text, as `-p` takes it
    assert {key: json.loads(value) for key, value in given.items()} == config
    assert "three passes" in text.stdout
    assert "'roses'" in plan.stdout
    assert "7 epochs" in plan.stdout
    assert str(bare / "registry") in plan.stdout


def test_print_config_and_dry_run_tell_of_every_seed(bare):
    """--seeds says how many runs, from the seed that was asked for on."""
    text, as_json, plan = in_turn(
        [
            ["run", "flowers", "--seeds", "4", "--seed", "3", "--print-config"],
            ["run", "flowers", "--seeds", "4", "-p", "seed=3", "--print-config", "--json"],
            ["run", "flowers", "--seeds", "4", "--seed", "3", "--dry-run"],
        ],
        cwd=bare,
        **without_tensorflow(bare),
    )
    assert "# 4 runs: this one, and the same with seeds 4 to 6" in text.stdout
    assert "seed=3" in text.stdout
    assert as_json.json["seeds"] == [3, 4, 5, 6]
    assert as_json.json["config"]["seed"] == 3
    assert "4 times: 3 epochs" in plan.stdout
    assert "seeds 3 to 6;" in plan.stdout
    assert "the next 4 versions of 'flowers'" in plan.stdout


# --- what is trained ------------------------------------------------------------------------

# The example, and the beginning of a hook to take the place of one of its own.
HEAD = "from spirals import *\n\n\n@hookimpl\n"


@pytest.fixture(scope="module")
def spirals(tmp_path_factory):
    """The example beside a plugins.toml, in a folder with a name that is not plain."""
    folder = tmp_path_factory.mktemp("spirals") / "Zoë's spirals 🙂"
    folder.mkdir()
    shutil.copy(EXAMPLE, folder)
    write_settings(folder, {"spirals": "spirals"}, registry="registry")
    return folder


@pytest.fixture(scope="module")
def first(spirals):
    """The first run, from plugins.toml: a process that has imported nothing yet."""
    return mlreg("run", "spirals", "--preset", "quick", "--json", cwd=spirals)


@pytest.fixture(scope="module")
def second(first, spirals, tmp_path_factory):
    """The same run again, the plugin being an installed package."""
    installed = tmp_path_factory.mktemp("installed")
    shutil.copy(EXAMPLE, installed)
    write_distribution(installed, "mlreg-spirals", {"mlreg.plugins": {"spirals": "spirals"}})
    (installed / "mlreg_spirals-1.0.dist-info" / "top_level.txt").write_text("spirals\n")
    return keras_mlreg(
        "run", "spirals", "--preset", "quick",
        cwd=tmp_path_factory.mktemp("elsewhere"),
        MLREG_HOME=str(spirals / "registry"),
        PYTHONPATH=str(installed),
    )  # fmt: skip


@pytest.fixture(scope="module")
def exports(first, spirals):
    """Exports of the first version, in one process."""
    lines = {
        "keras": "export spirals@1 -o model.keras",
        "h5": "export spirals@1 --format h5 -o model.h5",
        "savedmodel": "export spirals@1 --format savedmodel -o model",
        "figures": "export spirals@1 --format figures -o figures",
    }
    told = in_turn([line.split() for line in lines.values()], cwd=spirals, keras=True)
    return dict(zip(lines, told, strict=True))


def stored(spirals: Path, model: str, number: int):
    return Store(spirals / "registry").resolve(Ref(model, "number", str(number)))


@pytest.mark.core
@pytest.mark.tensorflow
def test_a_run_registers_a_version_and_says_so(first, spirals):
    """--json prints the version as it is stored, and nothing else goes to stdout."""
    assert first.status == 0, first.stderr
    assert list(first.json) == ["schema", "version", "registry"]
    version = first.json["version"]
    assert list(version) == VERSION_KEYS
    assert (version["ref"], version["dataset"], version["preset"]) == (
        "spirals@1", "spirals", "quick",
    )  # fmt: skip
    assert {"test_accuracy", "test_loss"} <= set(version["metrics"])
    assert version["metrics"]["test_accuracy"] > 0.6
    assert {"data", "fit", "evaluate", "save", "plot"} <= set(version["seconds"])
    assert stored(spirals, "spirals", 1).to_json() == version
    assert list((spirals / "registry" / "runs").iterdir()) == []


@pytest.mark.tensorflow
def test_off_a_terminal_an_epoch_is_a_line_on_stderr(first):
    """A log can be read afterwards: no escape sequences, one line for each epoch."""
    assert "\x1b" not in first.stderr
    assert "\r" not in first.stderr
    epochs = [line for line in first.stderr.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1/3", "2/3", "3/3"]
    for line in epochs:
        assert "accuracy" in line
        assert "val loss" in line
        assert line.endswith("examples/s")
    assert len(first.stderr.splitlines()) < 20, first.stderr  # TensorFlow is quiet


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_same_run_again_is_the_next_version_with_the_same_weights(first, second, spirals):
    """From an installed package this time: version 2, every test example answered alike."""
    assert second.status == 0, second.stderr
    assert second.stdout.startswith("Registered spirals@2: test_accuracy 0.")
    one, two = stored(spirals, "spirals", 1), stored(spirals, "spirals", 2)
    assert one.metrics == two.metrics
    assert one.file("outcomes.json").sha256 == two.file("outcomes.json").sha256
    plugins = Store(spirals / "registry").manifest(two)["plugins"]
    assert [plugin["distribution"] for plugin in plugins] == ["mlreg-spirals 1.0"]


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_another_seed_gives_other_weights(first, spirals):
    """--seed decides; --name registers elsewhere, from 1; -q prints the reference alone."""
    line = "run spirals --preset quick --seed 1 --name seeded -q"
    done = keras_mlreg(*line.split(), cwd=spirals)
    assert done.status == 0, done.stderr
    assert (done.stdout, done.stderr) == ("seeded@1\n", "")
    one, other = stored(spirals, "spirals", 1), stored(spirals, "seeded", 1)
    assert other.seed == 1
    assert one.file("outcomes.json").sha256 != other.file("outcomes.json").sha256


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_settings_from_the_command_line_are_trained_with(spirals):
    """--epochs and -p reach the plugin, and are recorded."""
    line = "run spirals --epochs 1 -p units=8 -p noise=0.0 --name small --json"
    done = keras_mlreg(*line.split(), cwd=spirals)
    assert done.status == 0, done.stderr
    assert done.stderr.count("epoch ") == 1
    assert done.json["version"]["preset"] == "baseline"
    manifest = Store(spirals / "registry").manifest(stored(spirals, "small", 1))
    assert manifest["config"] == {
        "epochs": 1, "batch_size": 32, "seed": 0, "deterministic": True,
        "precision": "float32", "learning_rate": 0.01, "units": 8, "noise": 0.0,
    }  # fmt: skip
    assert len(manifest["history"]["loss"]) == len(manifest["epoch_seconds"]) == 1
    shown = mlreg("show", "small", cwd=spirals)
    assert "units=8" in shown.stdout
    assert "3,000 train, 1,000 test" in shown.stdout


# Loads what was exported as any program would that has never heard of mlreg.
PLAIN_KERAS = """
import json, sys
import keras, numpy, tensorflow

data = numpy.load("test.npz")
found = {
    name: keras.models.load_model(name).evaluate(*data.values(), verbose=0, return_dict=True)
    for name in ("model.keras", "model.h5")
}
served = tensorflow.saved_model.load("model/1")
answers = served.serve(data["inputs"]).numpy()
found["model"] = {"accuracy": float((answers.argmax(axis=1) == data["targets"]).mean())}
assert "registry_core" not in sys.modules

from registry_core import open_registry

model = open_registry("registry").load("spirals@1")
assert isinstance(model, keras.Model)
found["loaded"] = model.evaluate(*data.values(), verbose=0, return_dict=True)
json.dump(found, sys.stdout)
"""


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_what_is_exported_scores_what_was_registered(first, exports, spirals):
    """.keras, .h5 and SavedModel in plain Keras and TensorFlow; and `open_registry().load`."""
    import numpy as np

    for form in ("keras", "h5", "savedmodel", "figures"):
        assert exports[form].status == 0, exports[form].stderr
        assert "Warning" not in exports[form].stderr
    assert {path.name for path in (spirals / "figures").iterdir()} == {
        "accuracy.png", "confusion_matrix.png", "learning_rate.png", "loss.png",
    }  # fmt: skip
    namespace = {}
    exec(compile(EXAMPLE.read_text(), EXAMPLE, "exec"), namespace)
    test = namespace["mlreg_dataset"](namespace["SpiralsConfig"]()).test
    np.savez(spirals / "test.npz", inputs=test.inputs, targets=test.targets)

    done = python("-c", PLAIN_KERAS, cwd=spirals, TF_CPP_MIN_LOG_LEVEL="3")
    assert done.status == 0, done.stderr
    registered = first.json["version"]["metrics"]
    for name, metrics in done.json.items():
        assert metrics["accuracy"] == pytest.approx(registered["test_accuracy"], abs=1e-6), name
    for name in ("model.keras", "model.h5", "loaded"):
        assert done.json[name]["loss"] == pytest.approx(registered["test_loss"], rel=1e-5)


# --- several seeds --------------------------------------------------------------------------

# The example with everything in it that draws numbers; and nothing but a refusal for seed 2.
DRAWING = """
def mlreg_augmentation():
    import tensorflow as tf

    def jitter(inputs, batch):
        return inputs + 0.1 * tf.random.stateless_normal(tf.shape(inputs), batch.seed)

    return jitter


@hookimpl
def mlreg_model(config, data, learning_rate):
    import keras

    if config.noise == 0 and config.seed == 2:
        raise ValueError("not with seed 2")
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(config.units, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(len(data.class_names)),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
"""


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """A group of two, and a run alone with the last seed, each command in its own process.

    Their folder; a function, name -> how it ended, which runs when it is asked for.
    """
    folder = tmp_path_factory.mktemp("drawing")
    shutil.copy(EXAMPLE, folder)
    write_plugin(folder, "drawing_plugin", HEAD + DRAWING.lstrip())
    write_settings(folder, {"drawing": "drawing_plugin"}, registry="registry")
    lines = {
        "together": "run drawing --epochs 1 --seed 5 --seeds 2 --name together --json",
        "last": "run drawing --epochs 1 --seed 6 --name last -q",
    }
    return folder, cache(lambda name: keras_mlreg(*lines[name].split(), cwd=folder))


def content(folder: Path, model: str, number: int) -> dict[str, bytes]:
    """What a version's model and answers are made of, without dates and addresses in memory."""
    store = Store(folder / "registry")
    version = store.resolve(Ref(model, "number", str(number)))
    with zipfile.ZipFile(io.BytesIO(store.read(version, "model.keras"))) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if "metadata" not in name}
    parts["config.json"] = re.sub(rb'"shared_object_id": \d+', b"", parts["config.json"])
    return parts | {"outcomes.json": store.read(version, "outcomes.json")}


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_run_of_a_group_is_what_it_would_have_been_alone(drawing):
    """The last one: weights, layers' names and answers, to the bit."""
    folder, told = drawing
    for name in ("together", "last"):
        assert told(name).status == 0, told(name).stderr
    assert set(content(folder, "last", 1)) == {
        "config.json", "model.weights.h5", "outcomes.json",
    }  # fmt: skip
    assert content(folder, "together", 2) == content(folder, "last", 1)
    assert content(folder, "together", 2) != content(folder, "together", 1)


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_group_is_told_as_versions_and_their_means(drawing):
    """One JSON object; on stderr which run it is, and nothing of TensorFlow's."""
    folder, told = drawing
    group = told("together").json
    assert list(group) == ["schema", "versions", "group", "registry", "summary"]
    assert [version["ref"] for version in group["versions"]] == [
        f"together@{number}" for number in (1, 2)
    ]
    assert [version["seed"] for version in group["versions"]] == [5, 6]
    accuracies = [version["metrics"]["test_accuracy"] for version in group["versions"]]
    summary = group["summary"]["test_accuracy"]
    assert summary["n"] == 2
    assert summary["mean"] == pytest.approx(statistics.mean(accuracies))
    assert summary["deviation"] == pytest.approx(statistics.stdev(accuracies))
    assert stored(folder, "together", 2).group == group["group"]
    said = told("together").stderr.splitlines()
    assert [line for line in said if re.fullmatch(r"Run \d of \d, seed \d", line)] == [
        f"Run {number} of 2, seed {number + 4}" for number in (1, 2)
    ]
    assert any(line.startswith("Run 2 of 2, seed 6: Registered together@2") for line in said)
    assert "retracing" not in told("together").stderr
    others = [line for line in said if not line.startswith("On ")]  # which names its version
    assert "tensorflow" not in "".join(others).lower()


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_group_that_fails_keeps_what_was_registered(drawing):
    """The error says which run it was and names the versions; the summary says mean and n."""
    folder, _ = drawing
    lines = [
        "run drawing --epochs 1 -p noise=0 --seed 0 --seeds 5 --name failing",
        "run drawing --epochs 1 --seeds 2 --name quiet -q",
        "run drawing --epochs 1 --seeds 2 --name plain",
    ]
    failing, quiet, plain = in_turn([line.split() for line in lines], cwd=folder, keras=True)
    assert_error(
        failing, 3, "Run 3 of 5, seed 2: Plugin 'drawing' failed", "not with seed 2",
        "Earlier runs registered failing@1, failing@2.",
    )  # fmt: skip
    assert len(Store(folder / "registry").versions("failing")) == 2
    assert (quiet.stdout, quiet.stderr) == ("quiet@1\nquiet@2\n", "")
    assert re.fullmatch(
        r"plain@1, plain@2, mean ± deviation of 2 runs: "
        r"test_accuracy 0\.\d{4} ± 0\.\d{4}, test_loss \S+ ± \S+\n",
        plain.stdout,
    )


# --- what goes wrong in training ------------------------------------------------------------

HOOKS = {
    "mlreg_augmentation": "config",
    "mlreg_scheduler": "config",
    "mlreg_model": "config",
    "mlreg_callbacks": "run_dir",
    "mlreg_inference_model": "model",
}
IN_KERAS = {
    "augmentation": (
        "def mlreg_augmentation():\n"
        "    def jitter(inputs, batch):\n"
        "        raise ValueError('not today')\n\n"
        "    return jitter\n",
        7,
    ),
    "callback": (
        "def mlreg_callbacks():\n"
        "    import keras\n\n"
        "    def fail(epoch, logs):\n"
        "        raise SystemExit('not today')\n\n"
        "    return [keras.callbacks.LambdaCallback(on_epoch_end=fail)]\n",
        9,
    ),
    "schedule": ("def mlreg_scheduler():\n    return lambda epoch: [0.01][epoch]\n", 6),
}
NO_MODEL = {
    "none": ("return None", "mlreg_model of none returned None.\nExpected: keras.Model."),
    "words": ("return 'a model'", "returned str"),
    "uncompiled": (
        "import keras\n    return keras.Sequential([keras.layers.Input((2,))])",
        "not compiled",
    ),
    "narrow": (
        "import keras\n"
        "    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])\n"
        "    model.compile(loss='mse')\n"
        "    return model",
        "there are 3 classes",
    ),
    "unloadable": (
        "import keras\n\n"
        "    class Scale(keras.layers.Layer):\n"
        "        def call(self, inputs):\n"
        "            return 2.0 * inputs\n\n"
        "    model = keras.Sequential([keras.layers.Input((2,)), Scale(), keras.layers.Dense(3)])\n"
        "    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))\n"
        "    return model",
        "cannot be loaded again",
    ),
}
GOES_ON = {
    "report": "def mlreg_report(out_dir):\n    raise OSError('no ink')\n",
    "registered": "def mlreg_registered(version):\n    raise RuntimeError('nobody is listening')\n",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Runs of plugins that are the example with one thing wrong.

    Their folder; a function, name -> how it ended, which runs when it is asked for; all names.
    """
    folder = tmp_path_factory.mktemp("broken")
    shutil.copy(EXAMPLE, folder)
    texts = {
        hook.removeprefix("mlreg_"): f"def {hook}({argument}):\n    raise ValueError('not today')\n"
        for hook, argument in HOOKS.items()
    }
    texts |= {f"{name}_inside": text for name, (text, _) in IN_KERAS.items()}
    texts |= {name: f"def mlreg_model():\n    {text}\n" for name, (text, _) in NO_MODEL.items()}
    texts |= GOES_ON
    for name, text in texts.items():
        write_plugin(folder, f"{name}_plugin", HEAD + text)
    plugins = {name: f"{name}_plugin" for name in texts}
    write_settings(folder, plugins | {"spirals": "spirals"}, registry="registry")
    lines = {name: ["run", name, "--epochs", "2"] for name in plugins}
    lines["diverging"] = ["run", "spirals", "--epochs", "2", "-p", "learning_rate=1e30"]
    return folder, cache(lambda name: keras_mlreg(*lines[name], cwd=folder)), [*lines]


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises_is_named(broken, hook):
    """3; plugin, hook, file and line; before the first epoch unless it runs after the last."""
    _, told, _ = broken
    name = hook.removeprefix("mlreg_")
    done = told(name)
    assert_error(done, 3, f"'{name}'", hook, "ValueError: not today", f"{name}_plugin.py, line 6")
    assert ("epoch 1/2" in done.stderr) == (hook == "mlreg_inference_model")


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "name",
    [
        "augmentation",
        "callback",
        "schedule",
    ],
)
def test_code_of_a_plugin_that_keras_calls_is_named_too(broken, name):
    """3; plugin, hook and line, however deep in Keras what raised was called."""
    line = IN_KERAS[name][1]
    done = broken[1](f"{name}_inside")
    hook = re.search(r"mlreg_\w+", IN_KERAS[name][0])[0]
    assert_error(done, 3, f"'{name}_inside'", hook, f"{name}_inside_plugin.py, line {line}.")


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", NO_MODEL)
def test_a_model_that_cannot_be_registered_is_refused_before_the_first_epoch(broken, name):
    """3, saying what is wrong with it; nobody waits for an epoch first."""
    done = broken[1](name)
    assert_error(done, 3, NO_MODEL[name][1])
    assert "Training" not in done.stderr
    assert "epoch 1/2" not in done.stderr


@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_loss_that_is_lost_ends_the_run(broken):
    """5, naming epoch and batch; nothing is registered under that name."""
    folder, told, _ = broken
    assert_error(told("diverging"), 5, "loss is nan in epoch 1, batch", "smaller learning rate")
    assert "spirals" not in {model.name for model in Store(folder / "registry").models()}


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_report_that_fails_costs_a_warning(broken):
    """The version stands, and says why its figures are missing."""
    folder, told, _ = broken
    assert told("report").status == 0, told("report").stderr
    assert "Warning: Figures are missing: Plugin 'report' failed" in told("report").stderr
    assert told("report").stdout.startswith("Registered report@1")
    assert "no ink" in mlreg("show", "report@1", cwd=folder).stdout


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_notice_that_fails_costs_a_warning(broken):
    """What mlreg_registered raises does not undo the version."""
    done = broken[1]("registered")
    assert done.status == 0, done.stderr
    assert "Warning: Plugin 'registered' failed in mlreg_registered" in done.stderr
    assert done.stdout.startswith("Registered registered@1")


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_failed_runs_leave_nothing_but_what_it_takes_to_go_on(broken):
    """Only the two that went on are versions; those that had begun to train can be resumed."""
    folder, told, names = broken
    for name in names:
        told(name)
    store = Store(folder / "registry")
    assert [model.name for model in store.models()] == ["registered", "report"]
    assert leftovers(store.folder) == []
    unfinished = store.unfinished_runs()
    assert {run.record["model"] for run in unfinished} == {
        "callback_inside", "schedule_inside", "inference_model", "spirals",
    }  # fmt: skip
    assert {run.state for run in unfinished} == {"failed"}
    for model in store.models():
        store.check(model.latest)


# --- signals --------------------------------------------------------------------------------

SLEEPING = """
def mlreg_callbacks():
    import pathlib, time

    import keras

    def sleep(batch, logs):
        pathlib.Path("sleeping").touch()
        time.sleep(120)

    return [keras.callbacks.LambdaCallback(on_train_batch_begin=sleep)]
"""
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
RESUMES = "Nothing was registered; `mlreg resume {}` resumes it."
PATIENCE_SECONDS = 90  # a batch and a clean end take one, on a machine that is not busy

# a signal in the middle of a batch of the second epoch; notes each batch
SIGNALLED = """
def mlreg_callbacks():
    import os
    from pathlib import Path

    import keras

    def note(batch, logs):
        with Path("batches").open("a") as file:
            file.write("batch ")
        if len(Path("batches").read_text().split()) == 100:
            os.kill(os.getpid(), SIGNUM)

    return [keras.callbacks.LambdaCallback(on_train_batch_begin=note)]
"""


@pytest.mark.exhaustive(keep=1)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("signum", STATUS, ids=lambda signum: signum.name)
def test_a_signal_stops_a_run_at_the_end_of_its_batch(tmp_path, signum):
    """128 and its number, at once; no version, and the command that goes on is told."""
    shutil.copy(EXAMPLE, tmp_path)
    text = SIGNALLED.lstrip().replace("SIGNUM", str(int(signum)))
    write_plugin(tmp_path, "signalled", HEAD + text)
    write_settings(tmp_path, {"signalled": "signalled"}, registry="registry")
    done = keras_mlreg("run", "signalled", "--epochs", "3", cwd=tmp_path)
    assert done.status == STATUS[signum], done.stderr
    assert done.stdout == ""
    assert ("epoch 1/3" in done.stderr, "epoch 2/3" in done.stderr) == (True, False)
    store = Store(tmp_path / "registry")
    (run,) = store.unfinished_runs()
    assert done.stderr.endswith(f"Stopped by {signum.name}. {RESUMES.format(run.id[-8:])}\n")
    assert "Traceback" not in done.stderr
    batches = (tmp_path / "batches").read_text().split()
    assert len(batches) == 100, "the batch that it arrived in was the last"
    assert run.state == "interrupted"
    assert run.checkpoint is not None
    assert leftovers(store.folder) == []
    assert store.models() == []


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_ctrl_c_twice_does_not_wait_for_the_batch(tmp_path):
    """Once, the batch goes on; twice, it ends where it is, as clean, and can be begun anew."""
    shutil.copy(EXAMPLE, tmp_path)
    write_plugin(tmp_path, "sleepy", HEAD + SLEEPING.lstrip())
    write_settings(tmp_path, {"sleepy": "sleepy"}, registry="registry")
    with start("run", "sleepy", cwd=tmp_path) as process:
        while not (tmp_path / "sleeping").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, said
    assert out == ""
    store = Store(tmp_path / "registry")
    (run,) = store.unfinished_runs()
    assert said.endswith(f"Stopped by SIGINT. {RESUMES.format(run.id[-8:])}\n")
    assert "Traceback" not in said
    assert store.models() == []
    assert (run.state, run.checkpoint) == ("interrupted", None)
    assert leftovers(store.folder) == []
