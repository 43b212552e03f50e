"""`mlreg sweep` as it is typed: its output, named sweeps, resuming and registering."""

import signal
import time

import pytest
from cli_helpers import assert_error, faked, in_turn, start_faked
from fakes import TABLE_PLUGIN, write_project

from registry_core.settings import read_settings
from registry_core.store import Store

pytestmark = pytest.mark.processes

GRID = ["sweep", "flowers", "-p", "units=4,8", "--epochs", "1", "--sampler", "grid"]

NAMED = """
[registry]
path = "registry"

[sweep.widths]
plugin = "flowers"
preset = "quick"
sampler = "grid"
register = "none"

[sweep.widths.parameters]
units = [4, 8, 16]
learning_rate = 0.5
"""


@pytest.fixture
def project(tmp_path):
    write_project(tmp_path)
    with (tmp_path / "plugins.toml").open("a") as file:
        file.write(NAMED)
    return tmp_path


@pytest.mark.gate
def test_a_sweep_prints_its_trials_and_its_winner(project):
    """A line for each trial on stderr; the version on stdout, with both values."""
    done = faked(*GRID, cwd=project)
    assert done.status == 0, done.stderr
    (sweep_id,) = Store(project / "registry").sweeps.ids()
    assert done.stdout == (
        "Registered flowers@1, trial 0, best of 2 trials: units=4, val_accuracy 0.8333, "
        "test_accuracy 0.8333\n"
    )
    assert (
        f"Sweep {sweep_id}: flowers, preset baseline, 2 trials, compared by val_accuracy"
        in done.stderr
    )
    assert "trial 1  val_accuracy 0.8333" in done.stderr
    again = faked("sweep", sweep_id[-8:], "--register", "1", "--json", cwd=project)
    assert again.json["version"]["ref"] == "flowers@2"
    assert again.json["sweep"]["registered"]["trial"] == 1
    confirmed = faked("sweep", sweep_id[-8:], "--confirm", "2", "-q", cwd=project)
    assert confirmed.status == 0, confirmed.stderr
    shown = faked("show", "flowers@3", cwd=project)
    assert f"confirms     trial 1 of sweep {sweep_id[-8:]}: val_accuracy 0.8333" in shown.stdout
    quiet = faked("sweep", sweep_id[-8:], "--register", "1", "-q", cwd=project)
    assert quiet.stdout == "flowers@2\n"


def test_a_named_sweep_is_what_plugins_toml_says_unless_the_command_line_does(project):
    """Its parameters and options; `--dry-run` shows them."""
    words = ["sweep", "widths", "--dry-run", "--json"]
    plain = faked(*words, cwd=project)
    changed = faked(*words, "--preset", "baseline", "-p", "units=2,3", cwd=project)
    sweep = plain.json["sweep"]
    assert (sweep["name"], sweep["preset"], sweep["register"]) == ("widths", "quick", "none")
    assert (sweep["count"], sweep["config"]["learning_rate"]) == (3, 0.5)
    assert sweep["space"] == {"units": {"choices": [4, 8, 16]}}
    sweep = changed.json["sweep"]
    assert (sweep["preset"], sweep["space"]["units"]["choices"]) == ("baseline", [2, 3])
    assert not (project / "registry").exists()


def test_a_dry_run_looks_at_the_data_and_the_machine_and_keeps_nothing(project):
    """It has the metric and the examples, and refuses what the sweep would refuse."""
    as_json = faked(*GRID, "--dry-run", "--json", cwd=project)
    sweep = as_json.json["sweep"]
    assert (sweep["id"], sweep["state"], sweep["metric"]) == (None, "planned", "val_accuracy")
    assert sweep["direction"] == "maximize" and set(sweep["data"]) == {
        "train",
        "validation",
        "test",
    }
    shown = faked(*GRID, "--dry-run", cwd=project)
    assert "Compared by: val_accuracy, more is better" in shown.stdout
    assert f"measured on {sweep['data']['validation']['examples']} validation" in shown.stdout
    for words in ([], ["--dry-run"]):
        gpus = faked(*GRID, *words, "--gpus", "1", cwd=project, CUDA_VISIBLE_DEVICES="")
        assert_error(gpus, 2, "no GPU that TensorFlow sees", "Leave --gpus out", "nvidia-smi")
    wide = faked(*GRID, "--dry-run", "--cpus", "4096", cwd=project)
    assert wide.status == 0 and "--cpus 4096: this machine has" in wide.stderr
    lokal = faked(*GRID, "--dry-run", "--on", "lokal", cwd=project)
    assert_error(lokal, 2, "no place to run", "--on local")
    watches = TABLE_PLUGIN.replace("split(12), split(6)", "test := split(12), test")
    (project / "flowers_plugin.py").write_text(watches)
    for words in ([], ["--dry-run"]):
        refused = faked(*GRID, *words, cwd=project)
        assert_error(refused, 2, "validates on the test split itself")
    assert not (project / "registry").exists()


@pytest.mark.gate
def test_a_named_sweep_may_start_from_a_version(project):
    """The command line comes first; both name it in the plan."""
    assert faked("run", "flowers", "-q", cwd=project).status == 0
    assert faked("run", "flowers", "-q", cwd=project).status == 0
    file = project / "plugins.toml"
    text = file.read_text().replace('sampler = "grid"', 'sampler = "grid"\nfrom = "flowers@1"')
    file.write_text(text)
    planned = faked("sweep", "widths", "--dry-run", cwd=project)
    assert "Every trial starts from flowers@1." in planned.stdout
    assert "units with units=16" in planned.stderr
    line = ["sweep", "widths", "--dry-run", "--json", "--from", "flowers@latest"]
    assert faked(*line, cwd=project).json["sweep"]["start_from"]["ref"] == "flowers@2"
    unknown = faked(*GRID, "--from", "flowers@9", cwd=project)
    assert_error(unknown, 2, "flowers has no version 9")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('plugin = "flowers"\n', "", "[sweep.widths] needs a plugin"),
        ('sampler = "grid"', "samplr = 1", "Did you mean 'sampler'?"),
        ('sampler = "grid"', "trials = true", "'trials' must be a whole number"),
        ("[sweep.widths]", "[sweep.Widths]", "'Widths' cannot name a sweep"),
    ],
)
def test_a_mistake_in_a_named_sweep_names_its_line(project, old, new, words):
    """As every mistake in plugins.toml."""
    file = project / "plugins.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new).replace("[sweep.Widths.", "[sweep.widths."))
    with pytest.raises(Exception, match="line ") as caught:
        read_settings(file)
    assert words in str(caught.value)


SLOW = TABLE_PLUGIN.replace(
    "def mlreg_model(config, data, learning_rate):\n",
    "def mlreg_model(config, data, learning_rate):\n    import time\n    time.sleep(0.3)\n",
)


@pytest.mark.gate
def test_ctrl_c_says_how_to_resume_and_resume_alone_finds_the_sweep(project):
    """Its trial is not offered as a run of its own."""
    (project / "flowers_plugin.py").write_text(SLOW)
    store = Store(project / "registry")
    with start_faked(*GRID, cwd=project) as process:
        while not (store.sweeps.ids() and store.unfinished_runs()):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    (sweep_id,) = store.sweeps.ids()
    assert process.returncode == 130
    assert f"`mlreg resume {sweep_id[-8:]}` resumes it" in said
    runs = [run.id for run in store.unfinished_runs()]
    listed, *refused = in_turn([["runs"], *(["resume", run] for run in runs)], cwd=project)
    assert f"of sweep {sweep_id[-8:]}" in listed.stdout or not runs
    for each in refused:
        assert_error(each, 2, f"of the sweep {sweep_id}", f"mlreg resume {sweep_id[-8:]}")
    done = faked("resume", "-q", cwd=project)
    assert (done.status, done.stdout) == (0, "flowers@1\n"), done.stderr
    nothing = faked("resume", cwd=project)
    assert_error(nothing, 2, "Nothing to resume.")


@pytest.mark.gate
def test_what_cannot_be_done_with_a_sweep_is_refused_with_what_can(project):
    """Its settings stay; a trial that is not complete cannot be registered."""
    assert faked(*GRID, "--register", "none", "-q", cwd=project).status == 0
    short = Store(project / "registry").sweeps.ids()[0][-8:]
    changed, bare, unknown, plugin = in_turn(
        [
            ["sweep", short, "-p", "units=1,2"],
            ["sweep", short],
            ["sweep", short, "--register", "9"],
            ["sweep", "flower", "-p", "units=1,2"],
        ],
        cwd=project,
    )
    assert_error(changed, 2, "its settings and options stay as they are", f"mlreg sweep {short}")
    assert_error(bare, 2, "is a sweep that has been started", f"mlreg resume {short}")
    assert_error(unknown, 2, "has no trial 9", f"mlreg sweep {short} --register 0")
    assert_error(plugin, 2, "flower")


@pytest.mark.gate
def test_killing_the_command_line_loses_nothing(project):
    """SIGKILL while a trial trains: the sweep goes on with the same trials."""
    (project / "flowers_plugin.py").write_text(SLOW)
    store = Store(project / "registry")
    with start_faked(*GRID, cwd=project) as process:
        while not store.sweeps.ids() or not store.sweeps.read(store.sweeps.ids()[0]).trials:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = faked("resume", "--json", cwd=project)
    assert done.status == 0, done.stderr
    assert [each["params"] for each in done.json["sweep"]["trials"]] == [{"units": 4}, {"units": 8}]


@pytest.mark.gate
def test_a_complete_sweep_is_not_resumed_and_mistakes_name_their_place(project):
    """What would work is a whole command that can be typed."""
    assert faked(*GRID, "--register", "none", "-q", cwd=project).status == 0
    short = Store(project / "registry").sweeps.ids()[0][-8:]
    complete, unknown, near, preset, ends = in_turn(
        [
            ["resume", short],
            ["sweep", "abcd1234", "--register", "3"],
            ["sweep", "width"],
            ["sweep", "widths", "--preset", "quik"],
            ["sweep", "flowers", "-p", "units=8..4", "--trials", "3"],
        ],
        cwd=project,
    )
    assert_error(complete, 2, "is complete", f"Try: mlreg sweep {short} --register best")
    assert_error(unknown, 2, "No sweep 'abcd1234'", "Try: mlreg sweeps")
    assert_error(near, 2, "Did you mean 'widths'?")
    assert_error(preset, 2, "[sweep.widths] of ", "--preset quick")
    assert_error(ends, 2, "Try: mlreg sweep flowers -p units=4..8 --trials 3")
