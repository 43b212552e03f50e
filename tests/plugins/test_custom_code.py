"""Models with layers, losses and functions of their own are used wherever their code is."""

import json
import sys
from pathlib import Path

import pytest
from cli_helpers import fill, mlreg
from fakes import (
    FakeBackend,
    Recorder,
    run_context,
    write_distribution,
    write_plugin,
    write_settings,
)
from lifecycle_helpers import Project
from toy_project import LOSSES, PARTS, PLUGIN, make_project, run_all

from registry_core.errors import IntegrityError, PluginError
from registry_core.lifecycle.run import run
from registry_core.lifecycle.spec import spec_from_preset
from registry_core.plugins import custom_code
from registry_core.plugins.custom_code import CustomObject, find_code, named_in
from registry_core.records import Version
from registry_core.settings import Settings, find_settings

LOAD = "from registry_core import open_registry; print(open_registry().load('toy@1').loss.name)"

VERSION = Version(
    model="toy", version=1, created="2026-01-01T00:00:00Z", dataset="toy", preset="tiny", seed=0,
    metrics={}, seconds={}, files=[], digest="sha256:0", run="a",
)  # fmt: skip


def manifest(*objects, distribution=None, **changes):
    """The record of a version whose model names these: (name, module, distribution)."""
    needed = [dict(zip(("name", "module", "distribution"), each, strict=True)) for each in objects]
    plugin = {"name": "toy", "module": "plugin", "distribution": distribution}
    return {"dataset": "toy", "plugins": [plugin], "custom_objects": needed} | changes


def find(record, settings=None):
    return find_code(VERSION, record, Path("model.keras"), settings or Settings())


@pytest.fixture
def settings(tmp_path):
    """A project whose plugin has a module beside it."""
    write_plugin(tmp_path, "plugin", PLUGIN)
    write_plugin(tmp_path, "toy_parts_beside", "raise AssertionError('imported')")
    return write_settings(tmp_path, {"toy": "plugin"})


def test_a_model_of_kerass_own_layers_needs_nothing():
    assert find(manifest()).needed == []


def test_a_missing_module_is_named_with_its_plugin():
    """In three lines: the layer and its module, the plugin, the command."""
    with pytest.raises(PluginError) as caught:
        find(manifest(("toy>Noise", "toy_parts_beside", None)))
    assert str(caught.value).splitlines() == [
        "toy@1 needs custom code that is not here: 'toy>Noise' of the module toy_parts_beside.",
        "The plugin 'toy' has the code: run this in the folder whose plugins.toml names it.",
        "Try: mlreg plugins list",
    ]
    assert caught.value.exit_status == 3


def test_a_module_that_was_installed_is_named_with_its_distribution():
    with pytest.raises(PluginError) as caught:
        find(manifest(("acme>Noise", "acme_layers.noise", "acme-layers 1.2")))
    assert caught.value.remedy == "Install acme-layers 1.2, which has the code."
    assert caught.value.command == "pip install acme-layers==1.2"


def test_a_distributions_name_is_no_way_to_type_something_else():
    with pytest.raises(PluginError) as caught:
        find(manifest(("acme>Noise", "acme_layers.noise", "acme; rm -rf ~")))
    assert caught.value.command == "mlreg plugins list"


def test_a_module_beside_plugins_toml_is_found_without_importing_it(settings):
    needed = CustomObject("toy>Noise", "toy_parts_beside")
    assert find(manifest(("toy>Noise", "toy_parts_beside", None)), settings).needed == [needed]


@pytest.mark.parametrize("module", ["antigravity", "namex", "../parts", "os;x", ""])
def test_a_record_cannot_have_anything_else_imported(settings, module, monkeypatch):
    """Neither the standard library's modules nor packages that have nothing to do with Keras."""
    monkeypatch.delitem(sys.modules, module, raising=False)  # Keras imports namex
    before = set(sys.modules)
    unknown = manifest(("toy>Noise", module, None), dataset="unknown", plugins=[])
    with pytest.raises(PluginError):
        find(unknown, settings)
    assert not {"antigravity", "namex"} & (set(sys.modules) - before)


def test_a_package_that_is_made_for_keras_is_found(tmp_path, monkeypatch):
    """By what its distribution needs."""
    site = tmp_path / "site-packages"
    for name in ("acme_for_keras", "acme_for_none"):
        write_plugin(site, f"{name}.layers", "")
        write_distribution(site, name, {})
        info = site / f"{name}-1.0.dist-info"
        (info / "top_level.txt").write_text(name)
    for line in ("keras>=3", 'tensorflow; extra == "all"'):
        metadata = site / "acme_for_keras-1.0.dist-info" / "METADATA"
        metadata.write_text(f"Name: acme_for_keras\nVersion: 1.0\nRequires-Dist: {line}\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(custom_code, "distribution_of", lambda top: f"{top} 1.0")
    find(manifest(("acme>Noise", "acme_for_keras.layers", None)))
    with pytest.raises(PluginError):
        find(manifest(("acme>Noise", "acme_for_none.layers", None)))


def test_an_invalid_record_is_an_integrity_error():
    with pytest.raises(IntegrityError):
        find(manifest() | {"custom_objects": ["toy>Noise"]})


@pytest.mark.gate
def test_a_command_names_everything_that_is_missing(tmp_path):
    """`evaluate` and `reproduce` without plugin and modules: status 3, without TensorFlow."""
    record = manifest(("toy>Loss", "more.losses", None), ("toy>Noise", "parts", None))
    fill(tmp_path / "registry", 0.5, model="toy", weights="sha256:0", **record)
    for command in ("evaluate", "reproduce"):
        done = mlreg(command, "toy@1", MLREG_HOME=str(tmp_path / "registry"))
        assert done.stderr.splitlines() == [
            "Error: toy@1 needs the plugin 'toy' (module plugin), the module more.losses and the "
            "module parts, which are not here.",
            "The plugin 'toy' has the code: run this in the folder whose plugins.toml names it.",
            "Try: mlreg plugins list",
        ]
        assert done.status == 3


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A version whose layer, activation, schedule, loss and metric are the plugin's own."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.mark.gate
@pytest.mark.tensorflow
def test_the_modules_of_a_models_own_classes_are_recorded(project):
    """Classes and functions, compiled ones too; modules that a hook imported late."""
    from registry_core.registry import Registry

    registry = Registry(project / "registry", find_settings(project))
    version = registry.version("toy@1")
    record = registry.store.manifest(version)["custom_objects"]
    assert {each["name"]: each["module"] for each in record} == {
        "toy>Scaling": "parts", "toy>bent": "parts", "toy>Slowing": "parts",
        "toy>Doubled": "more.losses", "toy>mean_answer": "more.losses",
    }  # fmt: skip
    assert {each["distribution"] for each in record} == {None}
    # what the file alone says, for a record that does not
    file = registry.store.copy_out(version, "model.keras", project / "copy.keras")
    assert named_in(file) == [
        CustomObject("toy>Doubled", "more.losses"), CustomObject("toy>Scaling", "parts"),
        CustomObject("toy>Slowing", "parts"), CustomObject("toy>bent", ""),
        CustomObject("toy>mean_answer", ""),
    ]  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_every_command_that_loads_it_imports_them_first(project):
    """evaluate, export to each format, `open_registry().load`: as if nothing had been imported."""
    lines = [
        ["evaluate", "toy@1", "--json"],
        ["export", "toy@1", "--format", "h5"],
        ["export", "toy@1", "--format", "savedmodel"],
        ["python", LOAD],
        ["reproduce", "toy@1", "-q"],
    ]
    told = run_all(lines, project, project / "registry")
    assert [status for status, _, _ in told] == [0] * 5, told
    assert json.loads(told[0][1])["verdict"] == "identical"
    assert told[3][1].splitlines()[-1] == "doubled"
    assert told[4][1] == "identical\n"


@pytest.mark.gate
@pytest.mark.tensorflow
def test_changed_code_is_reported_in_three_lines(project, tmp_path):
    """Status 3, whatever is missing or raises; without pages of configuration."""
    changes = [
        ("parts", "import nothing_like_it"),
        ("parts", PARTS.replace("class Scaling", "class Other")),
        ("parts", PARTS.replace("3 * inputs", "inputs.missing")),
        ("more.losses", LOSSES.replace("def call", "def __init__(self, name): pass\n    def call")),
    ]
    program = "Path({!r}).write_text({!r})"
    lines = []
    for module, text in changes:
        file = str(project.joinpath(*module.split("."))) + ".py"
        good = {"parts": PARTS, "more.losses": LOSSES}[module]
        lines += [
            ["python", program.format(file, text)],
            ["evaluate", "toy@1"],
            ["export", "toy@1", "--format", "h5", "-o", str(tmp_path / "m.h5")],
            ["python", LOAD],
            ["python", program.format(file, good)],
        ]
    told = run_all(lines, project, project / "registry")
    errors = [(status, out + err) for status, out, err in told]
    for number, said in enumerate([
        "needs the module parts, which cannot be imported: ModuleNotFoundError",
        "'toy>Scaling', which importing parts does not register",
        "missing",
        "__init__",
    ]):  # fmt: skip
        for status, text in errors[5 * number + 1 : 5 * number + 4]:
            lines = [line for line in text.splitlines() if " …" not in line]
            assert (status, said in text) == (3, True), text
            assert "bug" not in text
            assert len(lines) <= 5, text
            assert len(text) < 1000


@pytest.mark.gate
@pytest.mark.tensorflow
def test_without_plugins_toml_a_model_loads_after_its_code_is_imported(project, tmp_path):
    """Before that it is status 3 in three lines."""
    path = f"sys.path.insert(0, {str(project)!r}); import parts, more.losses; {LOAD}"
    lines = [["python", LOAD], ["export", "toy@1", "--format", "h5"], ["python", path]]
    told = run_all(lines, tmp_path, project / "registry")
    assert [status for status, _, _ in told] == [3, 3, 0]
    for _, out, err in told[:2]:
        assert "needs custom code that is not here" in out + err
        assert "plugins.toml names it" in out + err


@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_version_of_an_earlier_mlreg_is_loaded_by_what_its_file_names(project):
    """Its record says nothing of custom objects; functions are found by importing the plugin."""
    old = f"""
from registry_core import open_registry
from registry_core.store import Store
kept = Store.manifest
Store.manifest = lambda self, version: {{
    key: value for key, value in kept(self, version).items() if key != "custom_objects"
}}
try:
    {LOAD}
finally:
    Store.manifest = kept
"""
    [[status, out, err]] = run_all([["python", old]], project, project / "registry")
    assert (status, out.splitlines()[-1]) == (0, "doubled"), out + err


@pytest.mark.gate
def test_a_class_registered_in_a_function_is_warned_of(tmp_path):
    """No other process can load such a version; the record says so too."""
    project = Project(tmp_path)

    class Late(FakeBackend):
        def custom_objects(self, path):
            assert path.is_file()
            return {"toy>Early": "flowers_plugin", "toy>Late": ""}

    observer = Recorder()
    version = run(
        spec_from_preset(project.plugins),
        project.store,
        run_context(project.plugins, project.folder, Late, observer),
    )
    (warning,) = observer.warnings
    assert warning.startswith("'toy>Late' is not registered when a module is imported")
    assert project.store.manifest(version)["custom_objects"] == [
        {"name": "toy>Early", "module": "flowers_plugin", "distribution": None},
        {"name": "toy>Late", "module": "", "distribution": None},
    ]


@pytest.mark.tensorflow
def test_a_class_of_a_function_has_no_module_and_kerass_own_are_left_out(tmp_path):
    """Registered in a function, importing its module does not bring it."""
    from registry_core import training  # noqa: F401 - sets TensorFlow up
    from registry_core.training.custom_objects import custom_objects

    import keras  # isort: skip

    @keras.saving.register_keras_serializable("here")
    class Late(keras.layers.Layer):
        def call(self, inputs):
            return inputs

    made = keras.Sequential([keras.Input((8,)), Late(), keras.layers.Dense(2, "relu")])
    made.save(tmp_path / "m.keras")
    assert custom_objects(tmp_path / "m.keras") == {"here>Late": ""}


@pytest.mark.gate
@pytest.mark.tensorflow
def test_a_layer_that_fails_in_evaluation_is_a_plugin_error(project):
    """It loads and fails on the first batch: status 3 with the reason."""
    file = project / "more" / "losses.py"
    bad = LOSSES.replace("return 2 *", "raise ValueError('not today')\n        return 2 *")
    lines = [
        ["python", f"Path({str(file)!r}).write_text({bad!r})"],
        ["evaluate", "toy@1"],
        ["python", f"Path({str(file)!r}).write_text({LOSSES!r})"],
    ]
    _, (status, _, err), _ = run_all(lines, project, project / "registry")
    assert (status, "not today" in err, "bug" in err) == (3, True, False), err
