"""A spy on a stream of test examples: a sweep reads none until its winner is registered."""

import pytest
from cli_helpers import EXAMPLE, keras_mlreg
from fakes import write_settings

pytestmark = [pytest.mark.tensorflow, pytest.mark.processes]

# notes in reads.txt each example of the test split that is read
SPIED = """

@hookimpl(wrapper=True)
def mlreg_dataset(config):
    data = yield
    from dataclasses import replace
    from pathlib import Path
    import tensorflow as tf
    from mlreg import StreamSplit

    def read():
        for point, arm in zip(data.test.inputs[:40], data.test.targets[:40], strict=True):
            with Path("reads.txt").open("a") as file:
                file.write("read\\n")
            yield point, arm

    stream = tf.data.Dataset.from_generator(read, output_signature=(
        tf.TensorSpec((2,), tf.float32), tf.TensorSpec((), tf.int64)))
    return replace(data, test=StreamSplit(stream, 40, fingerprint="forty"))
"""


@pytest.mark.gate
def test_a_sweep_reads_no_test_example_and_its_winner_reads_all(tmp_path):
    """With Keras, whose streams are read before training in a run of its own."""
    (tmp_path / "spirals.py").write_text(EXAMPLE.read_text())
    (tmp_path / "spied.py").write_text("from mlreg import hookimpl\n" + SPIED)
    write_settings(tmp_path, {"spirals": "spirals"}, {"spied": "spied"}, registry="registry")
    words = ["sweep", "spirals", "-p", "units=4,8", "--epochs", "1", "--sampler", "grid"]
    done = keras_mlreg(*words, "--register", "none", cwd=tmp_path)
    assert done.status == 0, done.stderr
    assert not (tmp_path / "reads.txt").exists()
    done = keras_mlreg("sweep", done.stderr.split("Sweep ")[1][:25], "--register", "best", "-q",
                       cwd=tmp_path)  # fmt: skip
    assert (done.status, done.stdout) == (0, "spirals@1\n"), done.stderr
    assert len((tmp_path / "reads.txt").read_text().split()) >= 40
