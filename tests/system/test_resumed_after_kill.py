"""`kill -9` of a real run, in a process that nothing was imported into, and `mlreg resume`."""

import shutil

import pytest
from cli_helpers import EXAMPLE, keras_mlreg, start
from fakes import write_settings
from store_helpers import leftovers

from registry_core.refs import Ref
from registry_core.store import Store

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes]

RUN = ["run", "spirals", "--preset", "quick", "--epochs", "4"]


@pytest.mark.exhaustive
@pytest.mark.gate
def test_a_killed_run_is_resumed_to_the_same_bits(tmp_path):
    """Weights, history, metrics and answers of a run that nobody stopped."""
    shutil.copy(EXAMPLE, tmp_path)
    write_settings(tmp_path, {"spirals": "spirals"}, registry="registry")
    with start(*RUN, cwd=tmp_path) as process:
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                process.kill()
                break
    store = Store(tmp_path / "registry")
    (run,) = store.unfinished_runs()
    assert run.checkpoint is not None
    assert store.models() == []
    for words in (["resume", "-q"], [*RUN, "-q"]):
        done = keras_mlreg(*words, cwd=tmp_path)
        assert done.status == 0, done.stderr
    resumed, whole = (what_counts(store, number) for number in (1, 2))
    assert resumed == whole
    assert store.manifest(store.resolve(Ref("spirals", "number", "1")))["resumed"] == 1
    assert leftovers(store.folder) == []


def what_counts(store: Store, number: int) -> tuple:
    version = store.resolve(Ref("spirals", "number", str(number)))
    manifest = store.manifest(version)
    answers = version.file("outcomes.json").sha256
    return manifest["weights"], manifest["history"], dict(version.metrics), answers
