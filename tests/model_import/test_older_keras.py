"""Files of other versions of Keras, and models with custom objects."""

import io
import json
import zipfile

import h5py
import pytest
from hostile_files import METADATA, archive, dense, function, keras_object, members, model, sound

from registry_core.errors import IntegrityError, RefusedError
from registry_core.model_import.model_file import inspect


def written_by(version, config=None, **more):
    """The members of a file that says that this Keras wrote it."""
    metadata = json.dumps(METADATA | {"keras_version": version}).encode()
    return members(config) | {"metadata.json": metadata} | more


FUNCTIONAL = keras_object(
    "Functional", {"name": "m", "layers": []}, "keras.src.engine.functional",
    registered_name="Functional",
)  # fmt: skip


@pytest.mark.parametrize("version", ["2.12.0", "2.15.0", "2.21.0.dev1"])
@pytest.mark.parametrize(
    "content",
    [
        {"config": FUNCTIONAL},  # a module that Keras 3 does not have
        {"config": model({"class_name": "Dense", "config": {"units": 3}})},  # no module
        {},  # nothing that Keras 3 could not read
        {"variables.h5": b""},  # a member of its own
        {"config": model(dense(activation=function("relu", "keras.src.nn")))},
    ],
)
def test_files_of_keras_2_are_recognised(tmp_path, version, content):
    """Exit status 9, with the way to convert the file."""
    config = content.get("config")
    more = {name: data for name, data in content.items() if name != "config"}
    archive(tmp_path / "old.keras", written_by(version, config, **more))
    with pytest.raises(RefusedError) as caught:
        inspect(tmp_path / "old.keras")
    first, remedy, command = str(caught.value).splitlines()
    assert first == f"The file was written by Keras 2 ({version}): convert it."
    assert "tf_keras.models.load_model" in remedy
    assert command == "Try: pip install tf_keras"


def test_compressed_files_of_keras_2_are_recognised(tmp_path):
    with zipfile.ZipFile(tmp_path / "old.keras", "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in written_by("2.15.0").items():
            made.writestr(name, data)
    with pytest.raises(RefusedError, match="written by Keras 2"):
        inspect(tmp_path / "old.keras")


def test_a_large_metadata_file_is_not_read(tmp_path):
    """A file that unpacks to gigabytes is refused for its size."""
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in written_by("2.15.0").items():
            made.writestr(name, data + b" " * (1 << 20 if name == "metadata.json" else 0))
    with pytest.raises(IntegrityError, match=r"metadata\.json compressed"):
        inspect(tmp_path / "bomb.keras")


def own(name, module, registered, **config):
    return keras_object(name, config, module, registered_name=registered)


NAMED = {"class_name": "function", "module": "builtins", "registered_name": "function"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        # a notebook's, or a program's: Keras writes no module for __main__
        (model(own("Acme", None, "acme>Acme")), "a layer of its own, Acme, registered as 'acme>"),
        (model(own("Acme", None, "Acme")), "a layer of its own, Acme, registered as 'Acme'"),
        (model(own("Acme", "acme.parts", "acme>Acme")), "a layer of its own, Acme, registered"),
        (own("Net", "acme", "acme>Net"), "a model of its own, Net, registered as 'acme>Net'"),
        (model(dense(activation=NAMED | {"config": "acme>bent"})),
         "an activation of its own, bent, registered as 'acme>bent'"),
        (model(dense(kernel_initializer=own("Start", None, "acme>Start"))),
         "an initializer of its own, Start"),
        (model(compile_config={"loss": NAMED | {"config": "acme>far"}}),
         "a loss of its own, far, registered as 'acme>far'"),
        (model(compile_config={"metrics": [own("Hits", "m", "acme>Hits")]}),
         "a metric of its own, Hits"),
        (model(compile_config={"optimizer": own("Roll", "m", "acme>Roll")}),
         "an optimizer of its own, Roll"),
    ],
)  # fmt: skip
def test_custom_objects_are_named_by_their_kind(tmp_path, config, said):
    """Layers, losses, metrics; the message says where such a model belongs."""
    archive(tmp_path / "own.keras", members(config))
    with pytest.raises(RefusedError) as caught:
        inspect(tmp_path / "own.keras")
    assert f"The model has {said}" in caught.value.what
    assert "legacy" not in str(caught.value)
    assert "mlreg run" in caught.value.remedy


def test_a_legacy_configuration_is_recognised(tmp_path):
    """It names neither modules nor registered names."""
    archive(tmp_path / "m.keras", members(model({"class_name": "Dense", "config": {"units": 3}})))
    with pytest.raises(RefusedError, match="a legacy format: 'Dense' is named"):
        inspect(tmp_path / "m.keras")


# --- what Keras itself cannot load --------------------------------------------------------------


@pytest.fixture(scope="module")
def backend():
    from registry_core.config import RunConfig
    from registry_core.training import KerasBackend

    return KerasBackend(RunConfig())


def rewritten(file, version, change):
    """A `.keras` file that another Keras wrote, with its weights in another form."""
    with zipfile.ZipFile(file) as read:
        content = {name: read.read(name) for name in read.namelist()}
    metadata = json.loads(content["metadata.json"]) | {"keras_version": version}
    content["metadata.json"] = json.dumps(metadata).encode()
    stream = io.BytesIO(content["model.weights.h5"])
    with h5py.File(stream, "r+") as weights:
        change(weights)
    content["model.weights.h5"] = stream.getvalue()
    archive(file, content)
    return file


def transposed(weights):
    """As 3.1 and 3.11 to 3.13 kept quantised kernels: in another shape."""
    group = weights["layers/dense/vars"]
    kernel = group["0"][()].T.copy()
    del group["0"]
    group["0"] = kernel


@pytest.mark.gate(keep=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_a_quantised_model_of_an_older_keras_is_recognised(backend, tmp_path, mode):
    """Exit status 9: it is neither damaged nor from a newer Keras."""
    import keras

    made = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    made.quantize(mode)
    made.save(tmp_path / "m.keras")
    file = rewritten(tmp_path / "m.keras", "3.12.0", transposed)
    with pytest.raises(RefusedError) as caught:
        backend.load(file, 10_000)
    assert caught.value.what == (
        f"Keras 3.12.0 wrote the file, quantised to {mode}; Keras {keras.__version__} stores such "
        "weights in another form."
    )
    assert "before it was quantised" in caught.value.remedy


@pytest.mark.tensorflow
def test_the_error_of_a_failed_load_depends_on_the_keras_that_wrote_the_file(backend, tmp_path):
    """A newer Keras: upgrade; an older or equal one: the file may be damaged."""
    for version, said in [
        ("9.1.0", "newer than"), ("3.2.0", "may be damaged: Keras 3.2.0 wrote it"),
    ]:  # fmt: skip
        file = rewritten(sound(tmp_path / "m.keras"), version, transposed)
        with pytest.raises(IntegrityError) as caught:
            backend.load(file, 10_000)
        assert said in caught.value.remedy
        assert "shape of the target variable" in caught.value.what
        assert (caught.value.command == "pip install --upgrade keras") == version.startswith("9")
