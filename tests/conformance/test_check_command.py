"""`mlreg plugins check`: lines, JSON, exit statuses, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from cli_helpers import assert_error, forked_mlreg, start
from conformance_helpers import HERE
from fakes import COUNTING_EXTENSION, write_plugin, write_settings

from registry_core.conformance.rules import RULES, rules_for

pytestmark = pytest.mark.processes

SOUND = (HERE / "sound_plugin.py").read_text()


@pytest.fixture
def project(tmp_path):
    """Writes a project whose plugin `points` is the sound one with some code after it."""

    def write(more: str = "", kind: str = "plugins", text: str = SOUND) -> Path:
        write_plugin(tmp_path, "points_plugin", f"{text}\n\n{more}")
        write_settings(tmp_path, **{kind: {"points": "points_plugin"}}, registry="registry")
        return tmp_path

    return write


def check(folder: Path, *words: str):
    return forked_mlreg("plugins", "check", "points", "--quick", *words, cwd=folder)


def test_a_plugin_that_keeps_all_rules_is_status_0_and_has_a_line_for_each(project):
    """The registry is not touched."""
    folder = project()
    done = check(folder)
    assert done.status == 0, done.stderr
    quick = rules_for("dataset", quick=True)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(quick)]] == ["passed"] * len(quick)
    assert lines[-1] == f"{len(quick)} rules: {len(quick)} passed."
    assert not (folder / "registry").exists()


def test_every_title_fits_a_line_of_80_columns():
    """With the outcome before it and the seconds behind it."""
    assert [rule.title for rule in RULES if len(rule.title) > 60] == []
    assert len({rule.id for rule in RULES}) == len(RULES)


BREAKS_TWO = """
@hookimpl
def mlreg_presets():
    return {"baseline": SoundConfig(epochs=3)}

@hookimpl
def mlreg_dataset():
    train = draw(60, 1)
    train.inputs[7] = float("nan")
    return splits(train, draw(30, 2))
"""


def test_a_broken_required_rule_is_status_3_with_what_to_do(project):
    """A recommended rule alone is advice; rules that need the broken one are skipped."""
    done = check(project(BREAKS_TWO))
    assert_error(done, 3, "Plugin 'points' breaks splits-valid.", shown="example 7")
    assert "presets-described (recommended): No `about`: 'baseline'." in done.stdout
    assert "It needs splits-valid." in done.stdout
    assert done.stdout.splitlines()[-1].endswith("2 failed (1 required), 4 skipped.")


@pytest.mark.gate
def test_strict_and_expected_failures_decide_what_fails(project):
    """`--strict` fails on advice too; a rule that is expected to fail has its reason."""
    folder = project(BREAKS_TWO)
    expecting = ("--expect", "splits-valid=the seventh is missing")
    assert check(folder, *expecting, "-q").status == 0
    done = check(folder, *expecting, "--strict", "-q")
    assert (done.status, done.stdout) == (3, "presets-described\n")
    shown = check(folder, *expecting).stdout
    assert "expected" in shown
    assert "Expected: the seventh is missing" in shown
    done = check(folder, *expecting, "--expect", "imports=it does not", "-q")
    assert (done.status, done.stdout) == (3, "imports\n")


@pytest.mark.gate
def test_json_has_each_rule_beside_the_error(project):
    found = check(project(BREAKS_TWO), "--json").json
    assert found["passed"] is False
    assert found["error"]["exit_status"] == 3
    failed = {each["rule"]: each for each in found["rules"] if each["status"] == "failed"}
    assert list(failed) == ["presets-described", "splits-valid"]
    assert failed["splits-valid"]["remedy"]


@pytest.mark.exhaustive(keep=2)
@pytest.mark.gate
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--preset", "basline"], "Did you mean 'baseline'?"),
        (["-p", "epoch=3"], "Did you mean 'epochs'?"),
        (["--expect", "print-nothing=no"], "Did you mean 'prints-nothing'?"),
        (["--expect", "prints-nothing"], "is not RULE=REASON"),
        (["--data-dir", "nowhere"], "does not exist"),
    ],
)
def test_a_mistake_is_status_2_and_names_the_nearest(project, words, named):
    """It is the user's, not the plugin's."""
    done = check(project(), *words, "--json")
    assert_error(done, 2, named)


@pytest.mark.gate
def test_a_plugin_that_ends_the_process_fails_that_rule_alone(project):
    """The other rules are checked in a new process."""
    ends = "import os\n@hookimpl\ndef mlreg_dataset():\n    os._exit(0)\n"
    found = check(project(ends), "--json").json
    failed = [each for each in found["rules"] if each["status"] == "failed"]
    assert [each["rule"] for each in failed] == ["data-loads"]
    assert "ended the process" in failed[0]["found"]
    assert len(found["rules"]) == len(rules_for("dataset", quick=True))


@pytest.mark.gate
def test_data_that_is_read_with_tensorflow_is_left_to_the_whole_check(project):
    """`--quick` does not wait for TensorFlow."""
    reads = "@hookimpl\ndef mlreg_dataset():\n    import tensorflow\n"
    found = check(project(reads), "--json").json
    skipped = {
        each["rule"]: each["found"] for each in found["rules"] if each["status"] == "skipped"
    }
    assert list(skipped) == [
        "data-loads", "splits-valid", "data-repeats", "splits-share-no-example",
        "read-inputs-fit", "broken-files-named",
    ]  # fmt: skip
    assert set(skipped.values()) == {"Its data is read with TensorFlow: leave out --quick."}


@pytest.mark.gate
def test_an_extension_is_checked_by_the_rules_that_are_for_it(project):
    folder = project(kind="extensions", text=COUNTING_EXTENSION)
    found = check(folder, "--json").json
    assert found["kind"] == "extension"
    assert [each["rule"] for each in found["rules"]] == [
        rule.id for rule in rules_for("extension", quick=True)
    ]
    assert {each["status"] for each in found["rules"]} == {"passed"}
    assert_error(check(folder, "--preset", "baseline"), 2, "is an extension")


@pytest.mark.gate
def test_a_path_is_where_the_user_is(project):
    """`-p` and `--data-dir` name files of the user's folder, though the check has its own."""
    reads = """
class FileConfig(SoundConfig):
    path: str = "nowhere"

@hookimpl
def mlreg_presets():
    return {"baseline": FileConfig()}

@hookimpl
def mlreg_dataset(config, data_dir):
    assert open(config.path).read() == "points"
    assert (data_dir / "points.csv").is_file()
    return splits(draw(60, 1), draw(30, 2))
"""
    folder = project(reads)
    (folder / "points.csv").write_text("points")
    done = check(folder, "-p", "path=points.csv", "--data-dir", ".", "-q")
    assert (done.status, done.stdout) == (0, ""), done.stderr


@pytest.mark.gate
def test_ctrl_c_ends_the_check_and_leaves_nothing(project, tmp_path):
    """Neither a process nor a folder."""
    temporary, here = tmp_path / "temporary", tmp_path / "pid"
    temporary.mkdir()
    waits = f"""
import os, time
@hookimpl
def mlreg_dataset():
    with open({str(here)!r}, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(60)
"""
    words = ("plugins", "check", "points", "--quick")
    with start(*words, cwd=project(waits), TMPDIR=str(temporary)) as process:
        deadline = time.monotonic() + 60
        while not (here.is_file() and here.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        child = int(here.read_text())
        assert list(temporary.iterdir())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert list(temporary.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.gate
def test_a_file_that_is_made_anywhere_is_noticed(project, tmp_path):
    """Beside the plugin, in another folder, from the import on; not in mlreg's cache."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    makes = f"""
from pathlib import Path
from mlreg import cache_folder

Path({str(elsewhere)!r}, "imported.txt").write_text("early")

@hookimpl
def mlreg_dataset():
    cache_folder("points").mkdir(parents=True, exist_ok=True)
    (cache_folder("points") / "allowed.txt").write_text("cached")
    Path(__file__).with_name("beside.txt").write_text("late")
    return splits(draw(60, 1), draw(30, 2))
"""
    found = check(project(makes), "--json").json
    (failed,) = (each for each in found["rules"] if each["status"] == "failed")
    assert failed["rule"] == "writes-nothing-elsewhere"
    assert "beside.txt" in failed["found"]
    assert "imported.txt" in failed["found"]
    assert "allowed" not in failed["found"]
