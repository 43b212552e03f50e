"""What `mlreg reproduce` looked at, what it names, and what it cannot know."""

import copy
import json
import sys
from dataclasses import replace

import pytest
from fakes import TABLE_PLUGIN, FakeBackend, write_plugin, write_settings
from lifecycle_helpers import RECORD, Project, Spoiling, hook
from toy_project import make_project, run_all

from registry_core.lifecycle import environment, record
from registry_core.lifecycle import reproduce as reproduction
from registry_core.lifecycle.record_diff import changed_since, covered
from registry_core.process.interrupts import StopRequest
from registry_core.terminal.tables.runs import show_reproduction
from registry_core.types import NotRepeatable

WITH_HELPER = """

@hookimpl
def mlreg_callbacks(config):
    import helper
    import helpers.deep

    return []
"""

# what this mlreg records beyond what earlier ones did
LATER = {
    "code": {
        "files": {"flowers": {"flowers_plugin.py": "1" * 64}},
        "modules": {"helper": "3" * 64},
    },
    "environment": {
        "libraries": {"keras": "3.12", "scipy": "1.17.1"},
        "keras_settings": {"floatx": "float32", "epsilon": 1e-7},
        "variables": {"TF_ENABLE_ONEDNN_OPTS": "1"},
        "threads": {"intra_op": 0},
        "usable_cpus": 2,
        "vector_instructions": ["avx", "avx2"],
    },
}


def full_record():
    record = copy.deepcopy(RECORD)
    record["code"] = copy.deepcopy(LATER["code"])
    record["environment"] |= copy.deepcopy(LATER["environment"])
    return record


class Helped(Project):
    """A project whose plugin imports a helper module late, and a module of a package beside it."""

    def __init__(self, folder):
        write_plugin(folder, "helper", "UNITS = 16\n")
        write_plugin(folder, "helpers.deep", "DEEP = 1\n")
        write_plugin(folder, "never_imported", "raise AssertionError\n")
        super().__init__(folder)
        file = folder / "flowers_plugin.py"
        file.write_text(file.read_text() + WITH_HELPER)
        self.forget_all()

    def forget_all(self):
        """As a process does that has imported nothing yet."""
        self.forget("flowers_plugin", "helper", "helpers.deep", "helpers")


@pytest.fixture
def project(tmp_path):
    return Helped(tmp_path)


@pytest.fixture(scope="module")
def keras_project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


def kinds(changes):
    return [(each.kind, each.what) for each in changes]


# --- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("code", "modules", "helper"), "4" * 64,
         "module helper: code 444444444444, was code 333333333333"),
        (("code", "modules", "other"), "4" * 64, "module other: code 444444444444, was nothing"),
        (("environment", "libraries", "scipy"), "1.18", "library scipy: 1.18, was 1.17.1"),
        (("environment", "keras_settings", "floatx"), "float16",
         "Keras setting floatx: float16, was float32"),
        (("environment", "keras_settings", "epsilon"), 1e-3,
         "Keras setting epsilon: 0.001, was 1e-07"),
        (("environment", "variables", "XLA_FLAGS"), "--xla_cpu",
         "environment variable XLA_FLAGS: --xla_cpu, was nothing"),
        (("environment", "threads", "intra_op"), 1, "threads intra_op: 1, was 0"),
        (("environment", "usable_cpus"), 1, "hardware usable_cpus: 1, was 2"),
    ],
)  # fmt: skip
def test_one_deciding_thing_that_changed_is_named_alone(path, value, expected):
    now = full_record()
    place = now
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert [str(each) for each in changed_since(full_record(), now)] == [expected]


def test_which_of_a_plugins_files_changed_is_named():
    now = full_record()
    now["plugins"][0]["code_sha256"] = "2" * 64
    now["code"]["files"]["flowers"] |= {"flowers_plugin.py": "2" * 64, "new.py": "5" * 64}
    (drift,) = changed_since(full_record(), now)
    assert drift.now == "flowers_plugin, code 222222222222 (changed: flowers_plugin.py, new.py)"


def test_a_library_that_only_one_of_two_processes_imported_is_no_drift():
    """What else a process did decides that, and no result."""
    now = full_record()
    now["environment"]["libraries"] = {"keras": "3.12", "matplotlib": "3.11"}
    assert changed_since(full_record(), now) == []


def test_a_module_where_an_earlier_mlreg_did_not_look_is_no_change():
    """One that both found is compared all the same."""
    now = full_record()
    now["code"]["modules"]["on_path"] = "4" * 64
    now["code"]["searched"] = ["project", "plugin", "PYTHONPATH"]
    assert changed_since(full_record(), now) == []
    now["code"]["modules"]["helper"] = "4" * 64
    assert kinds(changed_since(full_record(), now)) == [("module", "helper")]


def test_what_was_compared_is_counted():
    found = covered(full_record(), full_record())
    assert ", ".join(found.compared) == (
        "settings, data, plugin files (1), modules (1), libraries, Keras settings, "
        "environment variables, threads, hardware, vector instructions"
    )
    assert found.not_recorded == ()


def test_what_an_earlier_mlreg_did_not_record_is_no_drift_and_is_said():
    assert changed_since(RECORD, full_record()) == []
    found = covered(RECORD, full_record())
    assert ", ".join(found.compared) == (
        "settings, data, plugin files, versions of the main libraries, hardware"
    )
    assert ", ".join(found.not_recorded) == (
        "modules beside the plugin, versions of other libraries, Keras settings, "
        "environment variables, threads, vector instructions"
    )


# --- runs ---------------------------------------------------------------------------------------


@pytest.mark.gate
def test_the_code_that_a_run_imported_is_recorded(project):
    """The plugin's files, and modules beside plugins.toml; none of mlreg's own or installed."""
    manifest = project.manifest(project.run())
    assert list(manifest["code"]["files"]["flowers"]) == ["flowers_plugin.py"]
    assert list(manifest["code"]["modules"]) == ["helper", "helpers.deep"]
    assert manifest["environment"]["libraries"]["numpy"] == sys.modules["numpy"].__version__


@pytest.mark.gate
def test_another_processor_is_named_by_reproduce_and_resume(project, monkeypatch):
    """`the same processor` can be another one generation on."""
    version, stopped = project.run(), project.stopped()
    project.stop = StopRequest()
    real = environment.describe_environment
    elsewhere = {"processor": "AMD EPYC, family 23", "vector_instructions": ["avx", "odd"]}
    monkeypatch.setattr(record, "describe_environment", lambda folder: real(folder) | elsewhere)
    found = [str(change) for change in project.reproduce(version).drift]
    assert found[0].endswith("; this machine has AMD EPYC, family 23")
    assert "vector instructions" in found[1]
    project.resume(stopped)
    first, second = project.observer.warnings
    assert "Not as it was when the run began: trained on " in first
    assert "vector instructions" in second


@pytest.mark.gate
def test_modules_on_every_way_to_the_plugin_are_recorded(tmp_path, monkeypatch):
    """The project is reached by a link, a helper is a link, one is on PYTHONPATH; installed ones
    are left out."""
    real, elsewhere = tmp_path / "real", tmp_path / "elsewhere"
    for folder in (real, elsewhere / "site-packages"):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    write_plugin(elsewhere, "on_path", "A = 1\n")
    write_plugin(elsewhere, "target", "A = 1\n")
    write_plugin(elsewhere / "site-packages", "installed", "A = 1\n")
    write_plugin(real, "beside", "A = 1\n")
    (real / "linked.py").symlink_to(elsewhere / "target.py")
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    for place in (elsewhere, elsewhere / "site-packages"):
        monkeypatch.syspath_prepend(place)
    text = TABLE_PLUGIN + hook(
        "mlreg_callbacks", "import beside, installed, linked, on_path\n    return []"
    )
    project = Project(tmp_path / "link", text)
    modules = project.manifest(project.run())["code"]["modules"]
    assert list(modules) == ["beside", "linked", "on_path"]
    for name in ("beside", "installed", "linked", "on_path"):
        del sys.modules[name]


@pytest.mark.gate
def test_modules_beside_an_installed_plugin_that_is_edited_are_recorded(tmp_path, monkeypatch):
    """Its source folder is elsewhere than plugins.toml."""
    source = tmp_path / "src"
    write_plugin(source, "roses.__init__", "")
    write_plugin(source, "roses.plugin", TABLE_PLUGIN + WITH_HELPER)
    write_plugin(source, "helper", "UNITS = 16\n")
    write_plugin(source, "helpers.deep", "DEEP = 1\n")
    monkeypatch.syspath_prepend(source)
    place = tmp_path / "project"
    place.mkdir()
    project = Project(place)
    project.settings = write_settings(place, {"flowers": "roses.plugin"})
    project.forget("flowers_plugin", "helper", "helpers.deep", "helpers")
    code = project.manifest(project.run())["code"]
    assert list(code["files"]["flowers"]) == ["__init__.py", "plugin.py"]
    assert list(code["modules"]) == ["helper", "helpers.deep"]


@pytest.mark.gate
def test_a_helper_module_that_was_edited_is_named(project):
    version = project.run()
    (project.folder / "helper.py").write_text("UNITS = 24\n")
    project.forget_all()
    found = project.reproduce(version, backend=Spoiling)
    assert kinds(found.drift) == [("module", "helper")]
    assert "modules (2)" in found.compared
    assert found.cause_known


@pytest.mark.gate
def test_a_file_that_was_edited_while_it_trained_is_recorded_as_it_was_imported(project):
    """The record says what ran, not what the file says an hour later."""

    class Editing(FakeBackend):
        def fit(self, *arguments):
            (project.folder / "helper.py").write_text("UNITS = 99\n")
            return super().fit(*arguments)

    before = (project.folder / "helper.py").read_bytes()
    version = project.run(backend=Editing)
    (project.folder / "helper.py").write_bytes(before)
    project.forget_all()
    assert list(project.reproduce(version, backend=FakeBackend).drift) == []


@pytest.mark.gate
def test_a_variable_that_was_set_is_named(project, monkeypatch):
    version = project.run()
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    found = project.reproduce(version, backend=Spoiling)
    assert kinds(found.drift) == [("environment variable", "TF_DETERMINISTIC_OPS")]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_where_nothing_known_changed_the_cause_is_not_known(project, capsys):
    """And what was not looked at is said; nothing vouches for that."""
    version = project.run()
    found = project.reproduce(version, backend=Spoiling)
    assert (list(found.drift), found.cause_known) == ([], False)
    show_reproduction(found)
    said = " ".join(capsys.readouterr().out.split())
    assert "cause not known: everything that was compared is as recorded" in said
    assert f"not checked: {', '.join(reproduction.NOT_LOOKED_AT)}" in said
    assert "compared: settings, data, plugin files (1), modules (2), libraries" in said
    assert found.to_json()["cause_known"] is False


@pytest.mark.gate
def test_what_the_record_says_cannot_repeat_is_a_known_cause(project, capsys):
    """Layers that draw without a seed; operations that are not deterministic."""

    notes = [
        NotRepeatable("layer 'noise' draws without a seed of its own", "always"),
        NotRepeatable("a callback keeps an iterator", "resumed"),  # which this run was not
    ]

    class Drawing(FakeBackend):
        def environment(self):
            return super().environment() | {"deterministic": False}

        def fit(self, *known):
            return replace(super().fit(*known), not_repeatable=notes)

    version = project.run(backend=Drawing)
    found = project.reproduce(version, backend=Spoiling)
    assert found.causes[0] == "layer 'noise' draws without a seed of its own"
    assert found.causes[1].startswith("deterministic is off")
    assert len(found.causes) == 2
    show_reproduction(found)
    said = capsys.readouterr().out
    assert "may not repeat: layer 'noise' draws without a seed of its own" in said
    assert "cause not known" not in said


@pytest.mark.exhaustive
@pytest.mark.gate
def test_an_identical_one_says_what_was_compared_too(project, capsys):
    show_reproduction(project.reproduce(project.run()))
    said = capsys.readouterr().out
    assert "identical" in said
    assert "compared: settings, data" in said
    assert "cause" not in said


# --- with Keras ---------------------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_keras_settings_and_edited_modules_are_named_by_the_command(keras_project):
    """One at a time, with TensorFlow: floatx, epsilon, a helper module, and nothing."""
    parts = keras_project / "parts.py"
    good = parts.read_text()
    write = "Path({!r}).write_text({!r})"
    setting = "import keras; keras.config.set_{}({!r})"
    lines = [
        ["python", setting.format("epsilon", 1e-3)],
        ["reproduce", "toy@1", "--json"],
        ["python", setting.format("epsilon", 1e-7)],
        ["python", setting.format("floatx", "float64")],
        ["reproduce", "toy@1", "--json"],
        ["python", setting.format("floatx", "float32")],
        ["python", write.format(str(parts), good.replace("3 * inputs", "5.0 * inputs"))],
        ["reproduce", "toy@1", "--json"],
        ["python", write.format(str(parts), good)],
        ["reproduce", "toy@1", "--json"],
    ]
    done = run_all(lines, keras_project, keras_project / "registry")
    found = [
        json.loads(out) for words, (_, out, _) in zip(lines, done, strict=True) if len(words) > 2
    ]
    names = [[(each["kind"], each["what"]) for each in one["drift"]] for one in found]
    assert names[0] == [("Keras setting", "epsilon")]
    assert ("Keras setting", "floatx") in names[1]
    assert names[2:] == [[("module", "parts")], []]
    assert found[3]["verdict"] == "identical"
    assert "modules (3)" in found[3]["compared"]
