"""What a benchmark records, and when it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))  # not installed; behind what is

from benchmarks import load, machine, measure, records

ROWS = [{"side": "mlreg", "cpu_seconds": 1.0}]
LOAD = {
    "load_before": 0.1,
    "load_highest": 1.9,
    "others_share": 0.01,
    "others_share_of_a_part": 0.02,
    "stolen_share": 0.0,
}


class FixedLoad:
    """A load that does not change."""

    def __init__(self, facts: dict) -> None:
        self.facts = lambda: facts


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Record rows on this machine under a load; return the folder of the records."""
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setenv(machine.ONEDNN, json.dumps({"mlreg": True, "tensorflow": False}))
    processor = {**machine.processor(), "vectors": "AVX2"}
    monkeypatch.setattr(machine, "processor", lambda: processor)

    def record(timed: bool = True, **changes: float) -> Path:
        monkeypatch.setattr(measure, "_LOAD", FixedLoad({**LOAD, **changes}))
        measure.report("startup", ROWS, True, timed, rounds=5)
        return tmp_path / "results"

    return record


def test_a_record_has_machine_libraries_load_and_commit(recorded):
    """So that another machine's figure can be told from another commit's."""
    (file,) = recorded().rglob("*.json")
    content = json.loads(file.read_text())
    facts = content["machine"]
    assert facts.keys() >= LOAD.keys() | {"processor", "family", "model", "vectors", "cores"}
    assert facts.keys() >= {"instructions", "cores_of_machine", "hypervisor"}
    assert content["libraries"].keys() >= {"python", "tensorflow", "keras", "numpy"}
    assert content["libraries"]["onednn"] == {"mlreg": True, "tensorflow": False}
    assert content["rounds"] == 5
    commit = machine.commit()
    assert {key: content[key] for key in commit} == commit


def test_a_second_machine_does_not_overwrite_the_first(recorded, monkeypatch):
    """Each kind of processor, with its number of cores, has a folder."""
    folder = recorded()
    other = {**machine.processor(), "vectors": "AVX-512", "cores": 64}
    monkeypatch.setattr(machine, "processor", lambda: other)
    recorded()
    recorded()
    assert len(list(folder.rglob("startup.json"))) == 2
    (name,) = records.read(folder)
    assert len(records.read(folder)[name]) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"others_share": 0.31}, r"other processes took 31.0% of the cores \(5% allowed\)"),
        ({"others_share_of_a_part": 0.6}, "for a while other processes took 60.0%"),
        ({"stolen_share": 0.2}, "other guests of the host took 20.0%"),
    ],
)
def test_a_run_that_shared_the_machine_is_marked_and_not_published(recorded, changes, words):
    """It replaces no record of a quiet machine."""
    folder = recorded()
    (quiet,) = folder.rglob("*.json")
    before = quiet.read_bytes()
    with pytest.raises(SystemExit, match=words):
        recorded(**changes)
    assert quiet.read_bytes() == before
    (marked,) = folder.rglob("shared/startup.json")
    assert json.loads(marked.read_text())["shared"]
    assert [len(found) for found in records.read(folder).values()] == [1]


def test_what_load_does_not_change_is_recorded_and_its_times_are_marked(recorded):
    """An accuracy is the same on a busy machine."""
    (file,) = recorded(timed=False, others_share=0.31).rglob("*.json")
    content = json.loads(file.read_text())
    assert "31.0%" in content["times_not_published"]
    assert "shared" not in content


def test_a_record_without_the_newer_fields_is_read(tmp_path):
    """The first ones have no vector instructions, no load and no libraries."""
    old = {"benchmark": "resume", "date": "2026-11-25", "rows": []}
    old["machine"] = {"processor": "AMD EPYC", "cores": 2, "python": "3.11.7"}
    records.write(old, tmp_path)
    (record,) = records.read(tmp_path)["resume"]
    assert not record.timed
    assert record.published
    assert "its model was not recorded" in machine.describe(record.machine)


def test_the_newest_record_of_a_machine_is_taken(tmp_path):
    """Wherever below the folder it lies."""
    facts = {"processor": "AMD EPYC", "cores": 2}
    for folder, date in (("a", "2026-11-26"), ("b", "2026-11-25")):
        content = {"benchmark": "resume", "date": date, "machine": facts, "rows": []}
        records.write(content, tmp_path / folder)
    assert [each.date for each in records.read(tmp_path)["resume"]] == ["2026-11-26"]


def test_a_machine_is_described_with_its_hypervisor_and_the_cores_that_it_does_not_give():
    """Two cores of a machine with 64 are not a machine with two."""
    facts = {"processor": "AMD EPYC", "family": "25", "model": "17", "vectors": "AVX-512"}
    facts |= {"cores": 2, "cores_of_machine": 64, "hypervisor": "KVM"}
    assert machine.describe(facts) == (
        "2 cores (of 64) of a virtual machine (KVM) on an AMD EPYC (family 25, model 17, AVX-512)"
    )


def test_a_benchmarks_own_work_is_not_counted_as_load(monkeypatch):
    """The time that this process and its living children used is not other work."""
    others = [0.0]
    own = lambda: load.own_cpu_seconds() + load._of_living_descendants()  # noqa: E731
    monkeypatch.setattr(load, "_busy_and_stolen", lambda: (own() + others[0], 0.0))
    measured = load.Load()
    began = time.perf_counter()
    while time.perf_counter() - began < 0.1:
        sum(range(10_000))
    # its own would be a share of the core; clock ticks of children between two readings are less
    assert measured.facts()["others_share"] < 0.5 / (os.cpu_count() or 1)
    others[0] = 1.0
    assert measured.facts()["others_share"] > 0.5


def test_a_short_burst_of_other_work_is_seen_in_a_long_measurement(monkeypatch):
    """The part in which it happened has its own share."""
    clock, busy = [1000.0], [0.0]
    monkeypatch.setattr(load.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(load, "_busy_and_stolen", lambda: (busy[0], 0.0))
    monkeypatch.setattr(load, "own_cpu_seconds", lambda: 0.0)
    monkeypatch.setattr(load, "_of_living_descendants", lambda: 0.0)
    measured = load.Load()
    for part in range(100):
        clock[0] += 6.0
        busy[0] += 6.0 * (os.cpu_count() or 1) if part == 50 else 0.0
        measured.look()
    facts = measured.facts()
    assert facts["others_share"] == 0.01
    assert facts["others_share_of_a_part"] == 1.0
    assert "for a while" in load.shared_because(facts)


@pytest.mark.processes
def test_commands_that_are_measured_keep_their_byte_code():
    """Whatever the shell says; compiling is no part of a command's cost."""
    ask = "import benchmarks.measure as m, sys; print(m.command_cost([sys.executable, '-c', "
    ask += "'import sys; print(sys.dont_write_bytecode)']).report)"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


@pytest.mark.processes
def test_a_benchmark_that_is_terminated_ends_what_it_measures(tmp_path):
    """A training that goes on would take the cores of the next benchmark."""
    pid = tmp_path / "pid"
    measured = f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}}.'); "
    measured += "time.sleep(60)"
    ask = "import sys; from benchmarks import __main__ as program, cli, measure; "
    ask += f"cli.main = lambda _: measure.command_cost([sys.executable, '-c', {measured!r}]); "
    ask += "program.main(['cli'])"
    with subprocess.Popen([sys.executable, "-c", ask], cwd=Path(__file__).parents[2]) as benchmark:
        until = time.monotonic() + 30
        while not (pid.exists() and pid.read_text().endswith(".")):
            assert time.monotonic() < until
            time.sleep(0.01)
        benchmark.terminate()
    assert benchmark.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()[:-1]), 0)


@pytest.mark.processes
def test_a_child_that_works_is_not_named_as_other_work():
    """A benchmark's own server is a part of it."""
    work = "import time\nuntil = time.monotonic() + 20\nwhile time.monotonic() < until: pass"
    with subprocess.Popen([sys.executable, "-S", "-c", work]) as child:
        try:
            _, busiest = load.others_now(0.3)
        finally:
            child.kill()
    assert f"process {child.pid})" not in " ".join(busiest)
