"""The measurements of `benchmarks.roofline`, in a process of their own: one JSON object on stdout.

    python -m benchmarks.roofline_step one|all ROUNDS

`one` runs TensorFlow on one thread, so that the time of a kernel is its CPU time, and measures the
machine and each kernel of the step. `all` leaves the threads to TensorFlow, as a run does, and
measures the whole step and what is around it. Every time is the least of several.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.roofline_kernels import Kernel, kernels_of

STEPS = 40
BATCHES = 310  # a multiple of the batches that Keras runs per call

# Of the batches in a profile, the share that is quicker than what is stated for a kernel.
_QUANTILE = 0.1


def main(threads: str, rounds: str) -> None:
    from registry_core.training import KerasTrainer  # first: it says how TensorFlow is to load

    # isort: split
    import tensorflow as tf

    from cifar_plugin.baseline.config import PRESETS

    if threads == "one":
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    config = PRESETS["baseline"]
    KerasTrainer(config)  # seeds and determinism
    step = Step(config, int(rounds))
    if threads == "one":
        found = {
            "machine": _machine(step.rounds),
            **step.profiled(),
            "step": step.cost(),
            **step.pipeline(),
        }
    else:
        found = {
            "matmul": _matmul(step.rounds),
            "step": step.cost(),
            "fit": step.fit(),
            **step.evaluation(),
        }
    print(json.dumps(found))


class Step:
    """One training step of the baseline, as `mlreg run` takes it, on CIFAR-10's shapes.

    The images are noise: no kernel's time depends on what is in them.
    """

    def __init__(self, config: Any, rounds: int) -> None:
        import numpy as np
        import tensorflow as tf

        from cifar_plugin.baseline.augmentation import augmentation
        from cifar_plugin.baseline.model import build
        from cifar_plugin.config import CLASSES, IMAGE_SHAPE
        from registry_core.training.pipeline import TrainingBatches
        from registry_core.types import ArraySplit

        self.rounds = rounds
        self.batch = config.batch_size
        draw = np.random.default_rng(0)
        count = self.batch * BATCHES
        images = draw.integers(0, 256, (count, *IMAGE_SHAPE), dtype=np.uint8)
        self.split = ArraySplit(images, draw.integers(0, CLASSES, count))
        self.plain = TrainingBatches(self.split, None, self.batch, 0)
        self.batches = TrainingBatches(self.split, augmentation(config), self.batch, 0)
        self.model = build(config, config.learning_rate, IMAGE_SHAPE, CLASSES)
        self.kernels = kernels_of(self.model, self.batch)
        inputs, self.targets = next(iter(self.batches.dataset))
        self.inputs = tf.cast(inputs, tf.float32)

    @contextmanager
    def _steps(self) -> Iterator[Callable[[], Any]]:
        """A function that takes STEPS training steps in one call, within the host's kernels."""
        import tensorflow as tf

        from registry_core.training.fused_batch_norm import fused_normalisation

        model = self.model

        def one(number: Any) -> Any:
            logs = model.train_step((self.inputs, self.targets))
            with tf.control_dependencies(tf.nest.flatten(logs)):
                return number + 1

        @tf.function(autograph=False)
        def steps() -> Any:
            return tf.while_loop(lambda number: number < STEPS, one, [0], parallel_iterations=1)

        with fused_normalisation(model):
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            model.compute_metrics(self.inputs, self.targets, model(self.inputs, training=False))
            steps()
            yield steps

    def cost(self) -> float:
        """CPU microseconds of a step, without input and Python."""
        with self._steps() as steps:
            return _least(steps, self.rounds) / STEPS * 1e6

    def profiled(self) -> dict[str, Any]:
        """CPU microseconds of each kernel, and of the operations that are none of them."""
        with self._steps() as steps:
            times = _profile(steps, self.rounds)
        rows: list[dict[str, Any]] = [each.row() for each in self.kernels]
        others: dict[str, float] = defaultdict(float)
        for (name, kind), microseconds in times.items():
            row = next((row for row in rows if Kernel.matches(row, name, kind)), None)
            if row is not None:
                row["microseconds"] += microseconds
                row["operations_run"] += 1
            else:
                others[_place(name)] += microseconds
        return {"kernels": rows, "others": others, "operations_run": len(times)}

    def pipeline(self) -> dict[str, Any]:
        """CPU microseconds of making a batch: all of it, and without augmentation."""
        return {
            "input": _drained(self.batches, self.rounds) / BATCHES * 1e6,
            "gather": _drained(self.plain, self.rounds) / BATCHES * 1e6,
        }

    def fit(self) -> float:
        """CPU microseconds of a step in Keras's `fit`, with its input, after the first epoch."""
        import keras

        from registry_core.training.callback_batching import EXAMPLES_PER_CALL
        from registry_core.training.fused_batch_norm import fused_normalisation

        used: list[float] = []

        class Clock(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                batches.begin(epoch)
                self.began = time.process_time()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                used.append(time.process_time() - self.began)

        batches, model = self.batches, self.model
        model.steps_per_execution = EXAMPLES_PER_CALL // self.batch
        with fused_normalisation(model):
            model.fit(
                batches.dataset,
                epochs=self.rounds + 1,
                callbacks=[Clock()],
                shuffle=False,
                verbose=0,
            )
        return min(used[1:]) / BATCHES * 1e6

    def evaluation(self) -> dict[str, float]:
        """CPU microseconds of an image in the validation after an epoch."""
        from registry_core.training.pipeline import evaluation_batches

        batches = evaluation_batches(self.split)

        def evaluate() -> None:
            self.model.evaluate(batches, verbose=0)

        evaluate()
        return {"validation_image": _least(evaluate, self.rounds) / len(self.split) * 1e6}


def _least(function: Callable[[], Any], rounds: int) -> float:
    """The least CPU seconds of several calls, of all threads of this process."""
    costs = []
    for _ in range(rounds):
        began = time.process_time()
        function()
        costs.append(time.process_time() - began)
    return min(costs)


def _drained(batches: Any, rounds: int) -> float:
    import tensorflow as tf

    @tf.function
    def drain(iterator: Any) -> None:
        for _ in tf.range(BATCHES):
            next(iterator)

    def run() -> None:
        batches.begin(0)
        drain(iter(batches.dataset))

    run()
    return _least(run, rounds)


def _matmul(rounds: int, size: int = 1024) -> float:
    """Floating-point operations per CPU second of a matrix product in TensorFlow."""
    import tensorflow as tf

    one = tf.random.stateless_uniform((size, size), (0, 0))
    tf.linalg.matmul(one, one)
    return 2 * size**3 / _least(lambda: tf.linalg.matmul(one, one).numpy(), rounds)


def _copied(megabytes: int, rounds: int) -> float:
    """Bytes per second that one core reads and writes when it copies arrays of this size."""
    import numpy as np

    source = np.ones(megabytes * 250_000, np.float32)
    target = np.zeros_like(source)
    times = max(1, 256 // megabytes)

    def copy() -> None:
        for _ in range(times):
            np.copyto(target, source)

    copy()
    return 2 * source.nbytes * times / _least(copy, rounds)


def _machine(rounds: int) -> dict[str, float]:
    return {
        "matmul": _matmul(rounds),
        "memory": _copied(256, rounds),
        "cache": _copied(2, rounds),  # as large as what a layer reads and writes
    }


def _profile(steps: Callable[[], Any], rounds: int) -> dict[tuple[str, str], float]:
    """(name, kind) -> CPU microseconds in a step, of each operation of TensorFlow."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder, options=options)
        for _ in range(rounds):
            steps()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space.ParseFromString(file.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                found = re.match(r"while/body/_\d+/(.+):(\w+)$", name)
                if found:
                    times[found[1], found[2]].append(event.duration_ps / 1e6)
    expected = STEPS * rounds
    return {
        key: sorted(each)[int(len(each) * _QUANTILE)] * len(each) / expected
        for key, each in times.items()
    }


def _place(name: str) -> str:
    """Where an operation belongs that is no kernel of a layer."""
    if "adam/" in name:
        return "Adam"
    if re.search(r"loss|cross_entropy|dropout|logits|metric|mean|argmax|equal", name, re.I):
        return "loss, dropout and metrics"
    return "the rest"


if __name__ == "__main__":
    main(*sys.argv[1:])
