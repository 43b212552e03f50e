"""What the comparison of tuners counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import tuners, tuners_toy

ROOT = Path(__file__).parents[2]

# A process that starts one in a session of its own, which starts another; both outlive the first.
TREE = """
import subprocess, sys, time
work = "import sys, time\\nuntil = time.process_time() + 0.5\\n"
work += "while time.process_time() < until: pass\\nopen(sys.argv[1], 'w').close()\\n"
work += "time.sleep(60 if sys.argv[2] == 'stay' else 0)"
subprocess.Popen([sys.executable, "-S", "-c", work, *sys.argv[1:]], start_new_session=True)
if sys.argv[2] == "stay":
    time.sleep(60)
"""

RUN_TREE = """
import json, sys
from pathlib import Path
from benchmarks.load import descendants
from benchmarks.process_tree import run_tree
folder, kind = Path(sys.argv[1]), sys.argv[2]
mark = folder / "mark"
words = [sys.executable, "-S", "-c", sys.argv[3], str(mark), kind]
when = mark.exists if kind == "stay" else lambda: False
cost, status = run_tree(words, {}, folder, folder / "log", when)
print(json.dumps([status, cost.cpu_seconds, sorted(descendants())]))
"""


def settings(number: int) -> dict[str, float]:
    return {"learning_rate": 0.1, "units": number, "dropout": 0.0}


def epochs(number: int, count: int) -> list[dict]:
    """The notes of some epochs of a trial."""
    return [
        {"kind": "epoch", "at": 1.0 + number, "settings": settings(number), "epoch": epoch}
        for epoch in range(count)
    ]


def trial(number: int) -> list[dict]:
    """The notes of a whole trial."""
    end = {"kind": "end", "at": 1.0 + number, "settings": settings(number)}
    return [*epochs(number, tuners_toy.EPOCHS), end]


def test_a_trial_that_was_trained_again_or_is_missing_is_counted():
    """Trial 2 was interrupted, so that its epochs are in vain, but it had not ended."""
    before = [*trial(0), *trial(1), *epochs(2, 4)]
    notes = [*before, *trial(2), *trial(1), *trial(3)]
    results = [{**settings(number), "value": 1.0} for number in (1, 2, 3)]
    lost = tuners._lost(notes, [len(before)], results)
    assert lost["ended_before_a_kill"] == 2
    assert lost["trials_missing"] == 1
    assert lost["trials_again"] == 1
    assert lost["epochs_in_vain"] == 4 + 2 * tuners_toy.EPOCHS
    assert tuners._lost(notes, [], results)["trials_again"] == 0


def test_the_test_split_counts_as_read_only_while_trials_run():
    """A sweep describes it before the first one."""
    reads = [{"kind": "test", "at": at, "index": 0} for at in (0.5, 1.5, 1.6, 9.0)]
    notes = [reads[0], *trial(0), *reads[1:3], *trial(1), reads[3]]
    assert tuners._lost(notes, [], [settings(0), settings(1)])["test_examples_read"] == 2


def test_trials_are_compared_by_settings_and_by_value():
    """In any order, with the first trials of the search that was never stopped."""
    whole = [{**settings(number), "value": float(number)} for number in range(4)]
    found = [whole[1], {**whole[0], "value": 9.0}, {**settings(8), "value": 2.0}]
    same = tuners._same(found, whole)
    assert same == {"trials": 3, "same_settings": 2, "same_values": 1}


@pytest.mark.processes
@pytest.mark.gate
def test_a_kill_takes_every_process_and_cpu_time_of_orphans_counts(tmp_path):
    """A process of another session too, whose parent is gone."""
    for kind, expected in (("stay", None), ("go", 0)):
        (folder := tmp_path / kind).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", RUN_TREE, str(folder), kind, TREE],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        status, seconds, left = json.loads(done.stdout)
        assert (status, left) == (expected, [])
        assert seconds > 0.3
