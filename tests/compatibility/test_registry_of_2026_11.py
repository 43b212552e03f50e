"""Today's code works with a registry made in November 2026; make_registry.py says how."""

import hashlib
import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from math import isclose
from pathlib import Path

import pytest
from cli_helpers import Done, in_turn
from make_registry import PROJECT, unpack

from registry_core import open_registry
from registry_core.cli import run_command
from registry_core.registry import Registry
from registry_core.settings import Settings
from registry_core.store.audit import audit

pytestmark = pytest.mark.drawn

HERE = Path(__file__).parent
ARCHIVE = HERE / "registry-2026-11.tar.gz"
RECORDED = HERE / "json" / "2026-11"

# Sentences for people. They may be reworded, so only their presence is checked.
SENTENCES = re.compile(
    r"\.error\.(what|remedy|command)|\.decision\.checks\.\d+\.(name|found|source)|.*\.why_not"
)

# What decides the bits of a training, as `reproduce` names it.
DECIDES = ("tensorflow", "keras", "numpy", "device", "processor", "usable_cpus")


@pytest.fixture
def project(tmp_path):
    """The working folder, with the plugin and a copy of the registry."""
    unpack(ARCHIVE, tmp_path)
    return tmp_path


def mlreg(*words) -> Done:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run_command(words)
    return Done(status, out.getvalue(), err.getvalue())


def succeeds(*words) -> Done:
    done = mlreg(*words)
    assert done.status == 0, done.stderr
    return done


def recorded(name):
    """What a command printed as JSON in November 2026."""
    return json.loads((RECORDED / f"{name}.json").read_text())["output"]


def check_recorded(project, *names):
    """Run recorded commands again: nothing may be missing or differ."""
    for name in names:
        then = json.loads((RECORDED / f"{name}.json").read_text())
        done = mlreg(*then["command"].split(), "--json")
        assert done.status == then["status"], done.stderr
        now = json.loads(done.stdout.replace(str(project), PROJECT))
        found = list(differences(then["output"], now))
        assert not found, f"{name}: {found}"


def differences(then, now, place=""):
    """Every place where a value is missing or differs; keys may have been added."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in then:
            if key in now:
                yield from differences(then[key], now[key], f"{place}.{key}")
            else:
                yield f"{place}.{key} is missing"
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, pair in enumerate(zip(then, now, strict=True)):
            yield from differences(*pair, f"{place}.{number}")
    elif isinstance(then, str) and isinstance(now, str) and SENTENCES.fullmatch(place):
        if bool(then) != bool(now):
            yield f"{place} is {now!r}, was {then!r}"
    elif type(then) is not type(now) or not _equal(then, now):
        yield f"{place} is {now!r}, was {then!r}"


def _equal(then, now):
    # the last digits of statistics depend on the version of NumPy
    return isclose(then, now, rel_tol=1e-9) if isinstance(then, float) else then == now


@pytest.mark.exhaustive(keep=18)
@pytest.mark.gate(keep=10)
@pytest.mark.parametrize("name", sorted(file.stem for file in RECORDED.glob("*.json")))
def test_json_has_every_key_and_value_that_it_had(project, name):
    """Other programs read this; sentences may be reworded and keys added."""
    check_recorded(project, name)


@pytest.mark.exhaustive(keep=6)
@pytest.mark.gate(keep=4)
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("list", "sketch@1"),
        ("list points", "staging"),
        ("list points --removed", "points@7"),
        ("show points@production", "points@3"),
        ("show points@2 --log", "points"),
        ("show sketch", "custom_layer=True"),
        ("history", "accurate"),
        ("history points@production", "slower"),
        ("history points@production --at 2026-11-26", "points@3"),
        ("runs", "long"),
        ("compare points@1 points@2 points@3", "test_accuracy"),
        ("alias points", "production"),
        ("rules list", "0.999"),
        ("tag points@3", "quality"),
        ("gc --dry-run --older-than 0", "points@7"),
        ("verify", recorded("verify")["ledger"]["head"]),
    ],
)
def test_every_table_can_be_shown(project, line, shown):
    """Each shows something of the registry; other tests check the layout."""
    assert shown in succeeds(*line.split()).stdout


@pytest.mark.parametrize("module", ["points", "points_layers"])
def test_plugin_is_unchanged(module):
    """Its digests are those that the registry recorded; nobody reformats it."""
    code = recorded("show-custom-layer")["manifest"]["code"]
    digests = {"points": code["files"]["points"]["points.py"]} | code["modules"]
    content = (HERE / "plugin" / f"{module}.py").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digests[module]


def test_alias_moves_and_ledger_continues(project):
    """The first new row names the digest of the last old one, and nothing is damaged after."""
    last = recorded("history")["history"][0]
    succeeds("promote", "points@1", "production", "--yes")
    succeeds("rollback", "points@production")
    new = succeeds("history", "--json").json["history"]
    assert [row["action"] for row in new[:2]] == ["rolled back", "promoted"]
    assert new[1]["previous_digest"] == last["digest"]
    assert list(differences(recorded("history")["history"], new[2:])) == []
    assert succeeds("list", "--json").json["models"] == recorded("list")["models"]
    succeeds("verify")


def test_rules_still_refuse_promotions(project):
    """An earlier alias that a rule requires, a floor, and the plugin's own objection refuse."""
    for words in (("points@5", "production"), ("points@2", "production"), ("points@4", "canary")):
        assert mlreg("promote", *words, "--yes").status == 9
    assert mlreg("rm", "points@3").status != 0


@pytest.mark.gate
def test_index_is_rebuilt(project):
    """From the objects and the ledger; every command shows the same afterwards."""
    (project / "registry" / "registry.sqlite3").unlink()
    assert succeeds("verify", "--rebuild", "--json").json["rebuilt"] is not None
    assert succeeds("verify", "--json").json["problems"] == []
    check_recorded(project, "list", "list-model", "list-removed", "alias", "rules-list")
    rows = succeeds("history", "--json").json["history"]
    assert rows[0]["action"] == "rebuilt"
    assert not list(differences(recorded("history")["history"], rows[1:]))


def test_removed_versions_are_restored_and_collected(project):
    """A version whose files were collected then cannot be restored."""
    assert mlreg("restore", "points@6").status != 0
    succeeds("restore", "points@7")
    succeeds("rm", "points@7")
    assert succeeds("gc", "--older-than", "0", "--yes", "--json").json["versions"] == ["points@7"]
    succeeds("verify")


def test_stopped_run_can_be_discarded(project):
    run = recorded("runs")["runs"][0]["id"]
    succeeds("runs", "--discard", run, "--yes")
    assert not (project / "registry" / "runs" / run).exists()
    succeeds("verify")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The project folder and, by name, the results of commands that need TensorFlow."""
    project = tmp_path_factory.mktemp("project")
    unpack(ARCHIVE, project)
    lines = {
        "reproduce": "reproduce points@3 --json",
        "resume": "resume --json",
        "show": "show points@latest --json",
        "evaluate": "evaluate points@4 --json",
    }
    done = in_turn([line.split() for line in lines.values()], cwd=project, keras=True)
    return project, dict(zip(lines, done, strict=True))


@pytest.mark.gate
@pytest.mark.tensorflow
def test_resumed_run_equals_the_run_that_was_never_stopped(trained):
    """Bit for bit with the libraries and processor of then; elsewhere the metrics are close."""
    _, done = trained
    assert done["resume"].status == 0, done["resume"].stderr
    version = done["resume"].json["version"]
    before = recorded("runs")["runs"][0]
    assert (version["ref"], version["run"]) == ("points@8", before["id"])
    never_stopped, resumed = recorded("show-tagged")["manifest"], done["show"].json["manifest"]
    assert resumed["resumed"] == 1
    assert resumed["config"] == {**never_stopped["config"], "precision": "float32"}  # new since
    assert len(resumed["history"]["loss"]) == 5
    if same_environment(done["reproduce"].json):
        assert resumed["weights"] == never_stopped["weights"]
        assert resumed["history"] == never_stopped["history"]
    for name, value in never_stopped["metrics"].items():
        assert resumed["metrics"][name] == pytest.approx(value, abs=0.2)


@pytest.mark.gate
@pytest.mark.tensorflow
def test_old_version_is_reproduced(trained):
    """Bit for bit, if the environment is the same."""
    _, done = trained
    assert done["reproduce"].status == 0, done["reproduce"].stderr
    found = done["reproduce"].json
    assert not [each for each in found["drift"] if each["kind"] in ("setting", "data", "plugin")]
    if same_environment(found):
        assert found["verdict"] == "identical"


@pytest.mark.gate
@pytest.mark.tensorflow
def test_an_old_model_that_was_imported_is_evaluated(trained):
    _, done = trained
    assert done["evaluate"].status == 0, done["evaluate"].stderr


@pytest.mark.exhaustive
@pytest.mark.gate
@pytest.mark.tensorflow
def test_old_models_are_evaluated_and_exported_and_new_versions_registered(trained):
    """Also the one with a layer of the plugin's own."""
    project, _ = trained
    lines = {
        "evaluate": "evaluate points@1 --json",
        "evaluate custom layer": "evaluate sketch@1 --json",
        "export": "export points@3 -o points.h5",
        "run": "run points --preset short --json",
        "promote": "promote points@latest staging --yes",
        "verify": "verify --json",
    }
    told = in_turn([line.split() for line in lines.values()], cwd=project, keras=True)
    done = dict(zip(lines, told, strict=True))
    for each in told:
        assert each.status == 0, each.stderr
    assert (project / "points.h5").read_bytes().startswith(b"\x89HDF")
    assert done["run"].json["version"]["ref"] == "points@9"
    assert done["verify"].json["problems"] == []


@pytest.mark.gate
@pytest.mark.tensorflow
@pytest.mark.parametrize("reference", ["points@production", "points@4"])
def test_old_models_are_loaded(project, reference):
    model = open_registry(project / "registry").load(reference)
    assert model.output_shape == (None, 3)


def same_environment(reproduction) -> bool:
    """Whether everything that decides the bits of a training is the same as then."""
    kinds = ("threads", "Keras setting", "environment variable", "determinism")
    return not [
        each for each in reproduction["drift"] if each["kind"] in kinds or each["what"] in DECIDES
    ]


@pytest.mark.gate
def test_its_versions_can_be_copied(project):
    """Whatever made them; each is shown as before, and says where it came from."""
    old, new = Registry(project / "registry", Settings()), Registry(project / "new", Settings())
    found = old.push([], new, everything=True, examine=lambda file, custom: None)
    assert {each.state for each in found.versions} == {"copied"}
    assert len(found.versions) > 3
    for each in found.versions:
        manifest = new.show(each.version).to_json()["manifest"]
        assert manifest == old.show(each.source).to_json()["manifest"]
        assert new.version(each.version.ref).origin.ref == each.source
    assert audit(new.store).problems == []
