"""`mlreg export`: where it may write, and that exports have the model's outputs."""

import os
import socket
import stat
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import assert_error, fill, in_turn, without_roots_rights
from model_families import FAMILIES, families
from store_helpers import record

from registry_core.errors import StorageError, UsageError
from registry_core.exports import FORMATS
from registry_core.exports.outputs import Output
from registry_core.records import Version
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store import Store

pytestmark = pytest.mark.drawn

# --- where something may be written ---------------------------------------------------------


def output(path, folder=False, overwrite=False) -> Output:
    return Output(Path(path), folder, overwrite, "mlreg export toy@1 -o", Path("toy-1.keras"))


def write(path, content="new", **choices) -> None:
    """Write a file, or a folder with one file in it."""
    place = output(path, **choices)
    with place.draft(".keras") as draft:
        if place.folder:
            draft.mkdir()
            draft = draft / "part"
        draft.write_text(content)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_a_file(path: Path) -> None:
    path.with_name("file").write_text("mine")
    path.symlink_to("file")


def a_link_to_a_folder(path: Path) -> None:
    path.with_name("empty").mkdir()
    path.symlink_to("empty")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


IRREGULAR = [
    a_pipe, a_socket, a_device,
    a_dangling_link, a_link_to_a_file, a_link_to_a_folder, a_link_to_itself,
]  # fmt: skip


@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("make", IRREGULAR, ids=lambda make: make.__name__)
def test_only_regular_files_are_replaced(tmp_path, make, folder, overwrite):
    """Devices, pipes, sockets and links are refused, also for root."""
    path = tmp_path / "there"
    make(path)
    before = sorted((each.name, os.lstat(each).st_ino) for each in tmp_path.iterdir())
    with pytest.raises(UsageError) as caught:
        write(path, folder=folder, overwrite=overwrite)
    assert str(path) in caught.value.what
    assert caught.value.remedy
    assert caught.value.command.startswith("mlreg export toy@1 -o toy-1")
    assert sorted((each.name, os.lstat(each).st_ino) for each in tmp_path.iterdir()) == before
    if make is a_link_to_a_file:
        assert path.read_text() == "mine"


@pytest.mark.parametrize("make", [*IRREGULAR, "a file", "a folder"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path, make, folder):
    """The last step checks again."""
    path = tmp_path / "there"

    def appear() -> None:
        if callable(make):
            make(path)
        elif make == "a file":
            path.write_text("mine")
        else:
            path.mkdir()
            (path / "mine").touch()

    with pytest.raises(UsageError), output(path, folder).draft() as draft:
        draft.mkdir() if folder else draft.write_text("new")
        appear()
        appeared = os.lstat(path).st_ino
    assert os.lstat(path).st_ino == appeared
    assert not list(tmp_path.glob(".mlreg-*"))


def test_only_one_of_many_writers_gets_the_name(tmp_path):
    """Without overwriting, a name is given once."""
    ends: list[str] = []
    barrier = threading.Barrier(8)

    def contend(number: int) -> None:
        with output(tmp_path / "there").draft() as draft:
            draft.write_text(str(number))
            barrier.wait()
        ends.append(str(number))

    def quietly(number: int) -> None:
        try:
            contend(number)
        except UsageError:
            ends.append("refused")

    threads = [threading.Thread(target=quietly, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("refused") == 7
    assert (tmp_path / "there").read_text() in ends


def test_without_hard_links_nothing_is_replaced(tmp_path, monkeypatch):
    """On FAT, the name is claimed first."""

    def no_links(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "new")
    assert (tmp_path / "new").read_text() == "new"
    with pytest.raises(UsageError), output(tmp_path / "there").draft() as draft:
        draft.write_text("new")
        (tmp_path / "there").write_text("mine")
    assert (tmp_path / "there").read_text() == "mine"


def test_overwrite_replaces_a_regular_file(tmp_path):
    """Another hard link to the file keeps its content."""
    (tmp_path / "there").write_text("old")
    os.link(tmp_path / "there", tmp_path / "other name")
    with pytest.raises(UsageError, match="already exists"):
        write(tmp_path / "there")
    write(tmp_path / "there", overwrite=True)
    write(tmp_path / "not there", overwrite=True)
    assert (tmp_path / "there").read_text() == (tmp_path / "not there").read_text() == "new"
    assert (tmp_path / "other name").read_text() == "old"


def test_only_an_empty_folder_is_replaced(tmp_path):
    """Nothing is lost by the first."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "mine").mkdir(parents=True)
    write(tmp_path / "empty", folder=True)
    assert (tmp_path / "empty" / "part").read_text() == "new"
    for folder in (False, True):
        with pytest.raises(UsageError, match="is a folder"):
            write(tmp_path / "full", folder=folder, overwrite=True)
    os.chdir(tmp_path / "full" / "mine")
    with pytest.raises(UsageError, match="is the working folder"):
        write(".", folder=True)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("x" * 300, "name too long"),
        ("y/" * 2500 + "z", "name too long"),
        ("file/model.keras", "file is not a folder"),
        ("file/deep/model.keras", "file is not a folder"),
        ("no/where.keras", "The folder no does not exist"),
        ("-", "standard output"),
        ("a\0b", "null"),
        ("", "is a folder"),
        (".", "is a folder"),
        ("..", "is a folder"),
        ("/", "is a folder"),
        ("loop/model.keras", "is not a valid path|does not exist"),
    ],
)
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_an_invalid_path_is_a_usage_error(tmp_path, path, said, folder):
    """The message suggests a command with a valid path."""
    Path("file").write_text("mine")
    Path("loop").symlink_to("loop")
    with pytest.raises(UsageError, match=f"(?i){said}") as caught:
        write(path, folder=folder)
    assert len(caught.value.what) < 400
    assert caught.value.command
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "loop"]


def test_a_suggested_path_is_free(tmp_path):
    """The command that is suggested works as it stands."""
    for name in ("toy-1.keras", "toy-1-2.keras"):
        Path(name).touch()
    with pytest.raises(UsageError) as caught:
        write("toy-1.keras")
    assert caught.value.command == "mlreg export toy@1 -o toy-1-3.keras"


def test_modes_follow_the_umask(tmp_path):
    """Whatever modes the draft had."""
    before = os.umask(0o027)
    try:
        for folder in (False, True):
            place = output(tmp_path / str(folder), folder)
            with place.draft() as draft:
                file = draft
                if folder:
                    draft.mkdir(mode=0o700)
                    file = draft / "part"
                file.touch(mode=0o400)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"False": 0o640, "True": 0o750, "part": 0o640}


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(tmp_path):
    """Exit status 8; neither the file nor its draft remains."""
    with pytest.raises(StorageError, match="full"), output(tmp_path / "there").draft() as draft:
        draft.write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


# --- the command ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("registry") / "registry", 0.5)


@pytest.mark.gate
@pytest.mark.processes
def test_export_refuses_every_output_that_it_would_break(registry, tmp_path):
    """Exit status 2 in three lines, for models and figures; what existed is unchanged."""
    made = [a_pipe, a_socket, a_dangling_link, a_link_to_a_file, a_link_to_a_folder]
    if os.geteuid() == 0:
        made.append(a_device)
    for make in made:
        make(tmp_path / make.__name__)
    before = {path.name: os.lstat(path).st_mode for path in tmp_path.iterdir()}
    places = [*(make.__name__ for make in made), "-", "x" * 300, "file/x.keras", "no/x.keras"]
    lines = [
        ["export", "flowers@1", *form, "-o", place]
        for place in places
        for form in ([], ["--overwrite"], ["--format", "figures"], ["--format", "h5"])
    ]
    for done in in_turn(lines, MLREG_HOME=str(registry.folder)):
        assert_error(done, 2)
        assert done.stderr.splitlines()[-1].startswith("Try: ")
        assert "bug" not in done.stderr
    assert {path.name: os.lstat(path).st_mode for path in tmp_path.iterdir()} == before


@pytest.mark.processes
def test_a_folder_without_write_permission_is_a_storage_error(registry, tmp_path):
    """Exit status 8; the folder is named."""
    import subprocess
    import sys

    (tmp_path / "closed").mkdir(mode=0o500)
    done = subprocess.run(
        [
            *without_roots_rights(), sys.executable, "-m", "registry_core",
            "--registry", registry.folder, "export", "flowers@1", "-o", "closed/model.keras",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert "closed/model.keras cannot be written: Permission denied" in done.stderr


def registered(store: Store, files) -> Version:
    """A version with these files, path -> content."""
    with store.start_run("toy") as run:
        made = {path: run.files / str(number) for number, path in enumerate(files)}
        for path, content in files.items():
            made[path].write_bytes(content)
        return store.publish(run, record(), made, lambda paths: None)


def test_figures_with_the_same_name_in_two_folders_are_both_exported(tmp_path):
    """A figure keeps its path below figures/."""
    files = {f"figures/{path}": path.encode() for path in ("a/x.png", "b/x.png", "x.png", "c/d/x")}
    registry = Registry(tmp_path / "registry", Settings())
    version = registered(registry.store, {"model.keras": b"a model"} | files)
    written = registry.export(version.ref, "figures", tmp_path / "out").path
    found = {
        f"figures/{path.relative_to(written).as_posix()}": path.read_bytes()
        for path in written.rglob("*")
        if path.is_file()
    }
    assert found == files


# --- what Keras writes ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """A family's model as it is registered: name -> (formats that hold it, the file)."""
    folder, known = tmp_path_factory.mktemp("saved"), families(keras)
    assert set(known) == set(FAMILIES)

    @cache
    def save(name):
        formats, build = known[name]
        file = folder / f"{name}.keras"
        build().save(file)
        return formats, file

    return save


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate(keep=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", ["h5", "savedmodel", "onnx", "litert"])
def test_every_family_of_layers_is_exported_or_refused(training, saved, tmp_path, form, name):
    """Exports have the model's outputs; models that a format cannot hold are refused."""
    formats, file = saved(name)
    written = tmp_path / f"model{FORMATS[form]}"
    if form not in formats:
        with pytest.raises(UsageError, match="keras"):
            training.export_model(file, form, written)
        return
    check, *_ = training.export_model(file, form, written)
    assert check.inputs == "generated"
    assert check.examples >= 4
    assert check.size > 0
    assert min(check.milliseconds, check.keras_milliseconds) > 0
    if check.largest_difference is not None:
        assert check.largest_difference <= check.tolerance * max(0.1, check.largest_output) * 2


@pytest.mark.gate(keep=2)
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("adapted text", "the vocabulary of TextVectorization"),
        ("adapted words", "the vocabulary of StringLookup"),
        ("bfloat16", "weights in bfloat16"),
        ("contrast", "RandomContrast"),
        ("brightness", "RandomBrightness"),
    ],
)
def test_a_refusal_names_what_h5_cannot_hold(keras, saved, tmp_path, name, held):
    """Exit status 2 with the next command; no file and no draft remains."""
    registry = Registry(tmp_path / "registry", Settings())
    registered(registry.store, {"model.keras": saved(name)[1].read_bytes()})
    with pytest.raises(UsageError, match=f"cannot be exported as h5 because of {held}") as caught:
        registry.export("toy@1", "h5", tmp_path / "model.h5")
    assert "keras holds every model" in caught.value.remedy
    assert caught.value.command == "mlreg export toy@1 --format keras"
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["convolutions", "two inputs", "contrast", "flips"])
def test_an_exported_savedmodel_has_the_outputs_of_predict(keras, saved, tmp_path, name):
    """Random layers are off; several inputs are passed by name."""
    import tensorflow as tf

    registry = Registry(tmp_path / "registry", Settings())
    registered(registry.store, {"model.keras": saved(name)[1].read_bytes()})
    written = registry.export("toy@1", "savedmodel", tmp_path / "served").path
    model = keras.saving.load_model(saved(name)[1])
    random = np.random.default_rng(1)
    inputs = [
        random.integers(0, 20, [4, *(size or 6 for size in each.shape[1:])]).astype("float32")
        for each in model.inputs
    ]
    model.run_eagerly = True
    expected = model.predict(inputs if len(inputs) > 1 else inputs[0], verbose=0)
    served = tf.saved_model.load(str(written)).signatures["serving_default"]
    names = [each.name for each in model.inputs]
    (answer,) = served(**dict(zip(names, map(tf.constant, inputs), strict=True))).values()
    assert answer.numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.gate(keep=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("form", ["h5", "savedmodel"])
def test_an_export_with_different_outputs_leaves_nothing(
    training, saved, tmp_path, monkeypatch, form
):
    """Weights that are lost without an error are noticed."""
    load = training.model_export.load_exported

    def forgetful(form, written, model):
        again = load(form, written, model)
        for weight in again.loaded.weights if form == "h5" else again.loaded.variables:
            weight.assign(weight * 0)
        return again

    monkeypatch.setattr(training.model_export, "load_exported", forgetful)
    registry = Registry(tmp_path / "registry", Settings())
    registered(registry.store, {"model.keras": saved("convolutions")[1].read_bytes()})
    with pytest.raises(UsageError, match=r"outputs of the export differ \(by up to"):
        registry.export("toy@1", form, tmp_path / "written")
    assert [path.name for path in tmp_path.iterdir()] == ["registry"]


@pytest.mark.tensorflow
def test_a_model_without_example_inputs_is_not_exported(training, keras, tmp_path):
    """An export that cannot be compared is refused."""
    inputs = keras.layers.Input((4,))
    picky = keras.Model(inputs, keras.ops.linalg.cholesky(keras.layers.Reshape((2, 2))(inputs)))
    picky.save(tmp_path / "model.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.model_export, "example_batches", lambda model: iter([]))
        with pytest.raises(UsageError, match="no example inputs that this model accepts"):
            training.export_model(tmp_path / "model.keras", "h5", tmp_path / "model.h5")


@pytest.mark.exhaustive(keep=8)
@pytest.mark.gate(keep=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_keras_export_is_the_registered_file(saved, tmp_path, name):
    """The same bytes for any model, without loading it."""
    file = saved(name)[1]
    registry = Registry(tmp_path / "registry", Settings())
    registered(registry.store, {"model.keras": file.read_bytes()})
    written = registry.export("toy@1", "keras", tmp_path / "model.keras").path
    assert written.read_bytes() == file.read_bytes()
