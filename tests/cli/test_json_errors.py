"""`--json` is one object on stdout, whatever comes of the command; errors are in it too."""

import json
import signal
import subprocess
import sys

import pytest
from cli_helpers import damage, faked, fill, in_turn, mlreg, newest, python, start_faked, stop
from fakes import TABLE_PLUGIN, write_plugin, write_settings
from hostile_files import sound
from signing_helpers import write_keys
from typer.main import get_command

from registry_core.cli.app import app, register_commands

pytestmark = pytest.mark.processes

# what each command says when all is well; {run} is a stopped run's id
DONE = [
    "list",
    "list flowers",
    "list flowers --removed",
    "show flowers@1",
    "history",
    "history flowers@production --at 2030-01-01",
    "compare flowers@1 flowers@2",
    "report flowers@1 flowers@2",
    "card flowers@1",
    "bom flowers@1",
    "runs",
    "promote flowers@1 production --dry-run",
    "promote flowers@1 production",
    "promote flowers@2 production",
    "rollback flowers production --dry-run",
    "rollback flowers production",
    "rules list",
    "rules",
    "rules set staging --floor test_accuracy=0.1",
    "rules remove staging --yes",
    "rules sync --dry-run",
    "rules sync --yes",
    "alias flowers",
    "alias flowers production --remove",
    "tag flowers@2 reviewed",
    "sign flowers@2 --key release.pem",
    "verify flowers@2 --key release.pub",
    "requests",
    "promote flowers@1 protected --request --reason why",
    "notify",
    "registry init",
    "pack flowers@2 -o packed.mlreg",
    "unpack packed.mlreg",
    "rm flowers@3 --dry-run",
    "rm flowers@3",
    "restore flowers@3",
    "gc --dry-run",
    "gc --older-than 0 --yes",
    "verify",
    "export flowers@1 -o model.keras",
    "plugins list",
    "plugins show flowers",
    "plugins check flowers --quick",
    "plugins new roses --into made --dry-run",
    "init made",
    "env",
    "data path flowers",
    "data verify flowers",
    "data fetch flowers",
    "run flowers --dry-run",
    "run flowers --dry-run --seeds 3",
    "run flowers --print-config",
    "sweeps",
    "import flowers sound.keras --dry-run",
    "runs --discard {run} --yes",
]

# what a command cannot do -> its status, and a part of what is said
FAILED = [
    ("list nothing", 2, "nothing"),
    ("list --limit many", 2, "many"),
    ("show flowers@99", 2, "99"),
    ("history flowers@production --at never", 2, "never"),
    ("compare flowers@1", 2, ""),
    ("compare", 2, "Missing argument"),
    ("runs --discard nothing --yes", 2, "nothing"),
    ("runs --discard {run}", 2, "without a terminal"),
    ("promote flowers@1", 2, ""),
    ("promote flowers@1 gated", 9, "test_accuracy"),
    ("promote flowers@1 gated --dry-run", 9, "test_accuracy"),
    ("rollback flowers nothing", 2, "nothing"),
    ("alias flowers@1", 2, "has no aliases"),
    ("rules set flowers@1", 2, "cannot be an alias"),
    ("rules remove nothing", 2, "nothing"),
    ("rules sync", 2, "without a terminal"),
    ("tag flowers@99 reviewed", 2, "99"),
    ("rm flowers", 2, ""),
    ("restore flowers@1", 2, ""),
    ("gc --older-than -1", 2, "-1"),
    ("verify --nothing", 2, "--nothing"),
    ("verify flowers@1", 2, "--key"),
    ("verify --key release.pub", 2, "--key"),
    ("verify flowers@1 --key release.pub", 9, "has no signature"),
    ("sign flowers@1", 2, "--key"),
    ("sign flowers@1 --key release.pub", 2, "public key"),
    ("rules set staging --signed-by absent.pub", 2, "absent.pub"),
    ("export flowers@1 --format nothing", 2, "nothing"),
    ("plugins nothing", 2, "nothing"),
    ("nothing", 2, "nothing"),
    ("data path raises", 3, "'raises' failed in mlreg_data"),
    ("run flowers --preset nothing", 2, "nothing"),
    ("run flowers --dry-run -p units=many", 2, "many"),
    ("run raises", 3, "'raises' failed in mlreg_presets"),
    ("import flowers absent.keras --dry-run", 2, "absent.keras"),
    ("evaluate flowers@1 --split nothing", 2, "nothing"),
    ("reproduce flowers@99", 2, "99"),
    ("promote flowers@1 gated --request", 2, "not protected"),
    ("approve 99", 2, "99"),
    ("decline 99 --reason no", 2, "99"),
    ("notify --retry 99", 2, "99"),
    ("registry grants", 2, "is a folder"),
    ("push flowers@99 ./other", 2, "99"),
    ("push flowers@1 ./other", 6, "not a .keras file"),
    ("pull flowers@99 ./absent", 2, "absent"),
    ("pack flowers@99 -o absent.mlreg", 2, "99"),
    ("unpack absent.mlreg", 2, "absent.mlreg"),
    ("predict flowers@99 rows.csv", 2, "99"),
    ("predict flowers@1 absent.csv", 3, "mlreg_inputs"),
    ("report flowers@99", 2, "99"),
    ("card flowers@99", 2, "99"),
    ("bom flowers@99", 2, "99"),
    ("resume nothing", 2, "nothing"),
    ("sweep flowers", 2, "Nothing is searched"),
]

DATA = """

class Cache:
    path = pathlib.Path("cache")
    def fetch(self, progress):
        print("fetched")
        return "nowhere"
    def verify(self):
        print("verified")
        return []


@hookimpl
def mlreg_data():
    return Cache()
"""


# tested with a trainer, here or where they are tested otherwise
TRAINING = {"run", "resume", "reproduce", "evaluate", "import", "predict", "sweep"}
# done with a second user, a database or a model in test_json_page.py and test_transfers.py
SHARED = {"approve", "decline", "registry grants", "push", "pull"}


def commands(group=None, path=()):
    """Every command with its words."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_that_answers_in_json_is_tried_here():
    """A new one has stdout for itself and is in the list of what is tried."""
    register_commands([])
    for words, command in commands():
        assert type(command).__name__ == "_Command", f"make {words}'s group of Commands"
        if any("--json" in parameter.opts for parameter in command.params):
            assert words in TRAINING | SHARED or any(line.startswith(words) for line in DONE), words


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A registry with three versions and two stopped runs; plugins that print whenever they can."""
    folder = tmp_path_factory.mktemp("project")
    loud = "import pathlib\nprint('imported')\n" + TABLE_PLUGIN.replace(
        "def mlreg_presets():\n", "def mlreg_presets():\n    print('asked')\n"
    )
    write_plugin(folder, "flowers_plugin", loud + DATA)
    raises = loud.replace("    print('asked')\n", "    print('asked')\n    raise OSError('dry')\n")
    write_plugin(
        folder, "raises_plugin", raises + "@hookimpl\ndef mlreg_data():\n    raise OSError('dry')\n"
    )
    settings = {"flowers": "flowers_plugin", "raises": "raises_plugin"}
    write_settings(folder, settings, registry="registry")
    with (folder / "plugins.toml").open("a") as file:
        file.write("[promotion.gated]\nfloor = {test_accuracy = 0.99}\n")
        file.write("[promotion.protected]\napprovals = 1\n")
    store = fill(folder / "registry", 0.5, 0.6, 0.7, model="flowers", dataset="flowers")
    stop(store)
    stop(store)
    sound(folder / "sound.keras")
    write_keys(folder, "release")
    return folder


@pytest.fixture(scope="module")
def told(project):
    """Command line -> how it ended, with --json; first those that fail, as they change nothing."""
    run = (project / "registry" / "runs").iterdir().__next__().name
    lines = [*(words for words, *_ in FAILED), *DONE]
    words = [[*line.replace("{run}", run).split(), "--json"] for line in lines]
    done = in_turn(words, cwd=project, keras=True, FORKED_EXAMINER="1")
    return dict(zip(lines, done, strict=True))


@pytest.mark.exhaustive(keep=20)
@pytest.mark.gate
@pytest.mark.parametrize("words", DONE)
def test_what_is_done_is_told_in_one_object(told, words):
    """Status 0; one object and a line's end, without a sentence around it and without an error."""
    done = told[words]
    assert done.status == 0, done.stderr
    assert done.json["schema"] == 1
    assert "error" not in done.json
    assert len(done.json) > 1
    assert done.stdout.endswith("}\n")


@pytest.mark.gate
@pytest.mark.parametrize(("words", "status", "said"), FAILED, ids=[words for words, *_ in FAILED])
def test_what_fails_is_told_in_one_object_too(told, words, status, said):
    """The three lines and the status on stdout as JSON, and on stderr in words as ever."""
    done = told[words]
    assert done.status == status, done.stderr
    error = done.json["error"]
    assert list(error) == ["what", "remedy", "command", "exit_status"]
    assert error["exit_status"] == status
    assert said in error["what"]
    assert f"Error: {error['what']}" in done.stderr
    assert done.json["schema"] == 1


@pytest.mark.gate
def test_what_plugins_print_is_on_stderr(told):
    """At import, in a hook and in what a hook returned; also where nothing else is said."""
    assert (
        "imported" in told["promote flowers@1 production"].stderr + told["data path raises"].stderr
    )
    assert "asked" in told["run flowers --dry-run"].stderr
    assert "fetched" in told["data fetch flowers"].stderr
    assert "verified" in told["data verify flowers"].stderr


@pytest.mark.gate
def test_a_dry_run_says_what_would_be_done(told):
    """What is planned, and that it is only planned."""
    plan = told["run flowers --dry-run --seeds 3"].json
    assert (plan["model"], plan["preset"], plan["dry_run"]) == ("flowers", "baseline", True)
    assert plan["seeds"] == [0, 1, 2]
    assert plan["config"]["epochs"] == 3
    brought = told["import flowers sound.keras --dry-run"].json
    assert len(brought["file"]["sha256"]) == 64
    assert brought["dry_run"] is True
    for words in ("promote flowers@1 production", "rollback flowers production", "rm flowers@3"):
        assert told[f"{words} --dry-run"].json["dry_run"] is True


@pytest.mark.gate
def test_a_refused_promotion_is_beside_the_error(told):
    """The decision with its grounds, and the error that came of it, in one object."""
    found = told["promote flowers@1 gated"].json
    assert found["alias"] == "gated"
    assert found["version"]["ref"] == "flowers@1"
    assert found["decision"]["checks"][0]["passed"] is False
    assert found["error"]["exit_status"] == 9


def test_what_verify_found_is_beside_the_error(tmp_path):
    """Problems and the error in one object."""
    store = fill(tmp_path / "registry", 0.5)
    damage(store, newest(store))
    done = mlreg("--registry", str(store.folder), "verify", "--json")
    assert done.status == 6
    assert len(done.json["problems"]) == 1
    assert done.json["error"]["exit_status"] == 6


def test_a_bug_of_ours_is_told_in_json(tmp_path):
    """1, and what it was."""
    code = (
        "import sys\nfrom registry_core.cli import main\nfrom registry_core.store import Store\n"
        "def models(*_):\n    raise KeyError('a bug')\n"
        "Store.models = models\nmain(['list', '--json'])\n"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.status == 1
    assert done.json["error"]["what"] == "A bug in mlreg: KeyError: 'a bug'"


@pytest.mark.gate
def test_a_stopped_run_is_told_in_json(tmp_path):
    """Ctrl-C in a hook: 130, one object, and no version."""
    waiting = "import pathlib, time\n" + TABLE_PLUGIN.replace(
        "    progress.say", "    pathlib.Path('waiting').touch(); time.sleep(60)\n    progress.say"
    )
    write_plugin(tmp_path, "flowers_plugin", waiting)
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
    with start_faked("run", "flowers", "--json", cwd=tmp_path) as process:
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out) == {
        "schema": 1,
        "error": {
            "what": "Stopped by SIGINT.",
            "remedy": "Nothing was registered.",
            "command": "",
            "exit_status": 130,
        },
    }
    assert said.endswith("Stopped by SIGINT. Nothing was registered.\n")


@pytest.mark.gate
def test_what_trains_answers_in_one_object(tmp_path):
    """The version, the plan or the error of each, beside a plugin that prints."""
    once = """

@hookimpl
def mlreg_inference_model():
    print("asked")
    if not pathlib.Path("once").exists():
        pathlib.Path("once").touch()
        raise OSError("dry")
"""
    write_plugin(tmp_path, "flowers_plugin", f"import pathlib\n{TABLE_PLUGIN}{once}")
    write_settings(tmp_path, {"flowers": "flowers_plugin"}, registry="registry")
    failed = faked("run", "flowers", "--json", cwd=tmp_path)
    assert (failed.status, failed.json["error"]["exit_status"]) == (3, 3)
    resumed = faked("resume", "--json", cwd=tmp_path)
    assert resumed.status == 0, resumed.stderr
    assert resumed.json["version"]["ref"] == "flowers@1"
    again = faked("reproduce", "flowers@1", "--json", cwd=tmp_path)
    assert again.status == 0, again.stderr
    assert again.json["verdict"] == "identical"
    group = faked("run", "flowers", "--seeds", "2", "--json", cwd=tmp_path)
    assert [version["ref"] for version in group.json["versions"]] == ["flowers@2", "flowers@3"]
    swept = faked("sweep", "flowers", "-p", "units=4,8", "--dry-run", "--json", cwd=tmp_path)
    assert swept.json["dry_run"] is True
    for done in (failed, resumed, again, group):
        assert "asked" in done.stderr


@pytest.mark.gate
def test_a_reader_that_leaves_gets_no_complaint(tmp_path):
    """`mlreg … --json | head -0`: no message, for an error its own status."""
    for words, status in (("list", 0), ("list nothing", 2)):
        command = [sys.executable, "-m", "registry_core", *words.split(), "--json"]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == status
        assert "Broken" not in said
        assert "Traceback" not in said
