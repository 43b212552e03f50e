"""Random sources of a training run, and which of them make a run unrepeatable.

Keras layers draw from their own generators, which are variables of the model. A layer, loss or
augmentation can also draw from other variables, which a checkpoint can save and restore, or by
TensorFlow operations with a hidden counter, which cannot be read: those only get a warning.
"""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator
from tensorflow.python.eager import context

from registry_core.types import NotRepeatable

# Names of the state variables of Keras's SeedGenerator and of tf.random.Generator.
_GENERATORS = ("/seed_generator_state:0", "StateVar:0")


# --- of the process ------------------------------------------------------------------------------


def random_states() -> list[Any]:
    """The global random states of Python, NumPy, TensorFlow (eager operations) and Keras."""
    tensorflow = getattr(context.context(), "_rng", None)
    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    return [
        random.getstate(),
        np.random.get_state(),
        None if tensorflow is None else tensorflow.getstate(),
        None if generator is None else np.asarray(generator.state.value),
    ]


def set_random_states(states: Sequence[Any]) -> None:
    """Restore the states that `random_states` returned."""
    python, numpy, tensorflow, keras_state = [*states, None, None][:4]
    if keras_state is not None:
        global_seed_generator().state.assign(keras_state)  # creating it draws from Python's
    random.setstate(python)
    np.random.set_state(numpy)
    if tensorflow is not None:
        # a cached kernel with the same seed would continue its own counter
        context.context().clear_kernel_cache()
        context.context()._rng.setstate(tensorflow)


@contextmanager
def preserve_random_states() -> Iterator[None]:
    """Restore the random states at the end of the block."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


@contextmanager
def separate_generator(seed: int) -> Iterator[None]:
    """Replace Keras's global generator by a separate one for what is traced in the block."""
    shared = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    own = keras.random.SeedGenerator(seed, name="augmentation_seed_generator")
    global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, own)
    try:
        yield
    finally:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, shared)


# --- of a function -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomDraws:
    """The random sources and variables of a traced function.

    Args:
        generators: state variables of generators, in the order of their first use.
        others: other variables that it uses.
        written: those of `others` that it assigns.
        operations: name -> type of the random operations with a hidden counter.
        python: whether it calls Python code.
    """

    generators: Sequence[tf.Variable] = ()
    others: Sequence[tf.Variable] = ()
    written: Sequence[tf.Variable] = ()
    operations: dict[str, str] | None = None
    python: bool = False


def find_draws(graph: Any) -> RandomDraws:
    """Analyse the graph of a traced function and of the functions that it calls."""
    by_handle = {id(each.handle): each for each in graph.variables}
    used = [
        (by_handle[id(outside)], inside)
        for outside, inside in graph.captures
        if id(outside) in by_handle
    ]
    generators = [each for each, _ in used if each.name.endswith(_GENERATORS)]
    others = [pair for pair in used if not pair[0].name.endswith(_GENERATORS)]
    definition = graph.as_graph_def()
    called = [node for function in definition.library.function for node in function.node_def]
    nodes = [*definition.node, *called]
    calls_write = any("Assign" in node.op for node in called)
    return RandomDraws(
        generators,
        [each for each, _ in others],
        [each for each, inside in others if _is_written(inside, calls_write)],
        {node.name: node.op for node in nodes if _counts_inside(node)},
        any("PyFunc" in node.op for node in nodes),
    )


def _is_written(handle: Any, calls_write: bool) -> bool:
    """Whether a variable is assigned; if a called function assigns any, assume yes."""
    kinds = {operation.type for operation in handle.consumers()}
    reads = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"}
    return any("Assign" in kind or (calls_write and kind not in reads) for kind in kinds)


def _counts_inside(node: Any) -> bool:
    # cuDNN's recurrent layers have a seed even without dropout
    drops = "dropout" not in node.attr or node.attr["dropout"].f > 0
    return "seed2" in node.attr and drops


def traced_step(model: keras.Model, dataset: tf.data.Dataset) -> Any:
    """The graph of the training step as `fit` will use it; None if it runs eagerly."""
    if model.run_eagerly:
        return None
    model.make_train_function()
    around = inspect.getclosurevars(model.train_function).nonlocals.values()
    (step,) = (each for each in around if isinstance(each, tf.types.experimental.GenericFunction))
    return step.get_concrete_function(tf.data.IteratorSpec(dataset.element_spec)).graph


def unrepeatable_in_step(model: keras.Model, draws: RandomDraws) -> list[NotRepeatable]:
    """What makes a training step unrepeatable if its run is stopped within an epoch."""
    places: dict[str, set[str]] = {}
    for name, kind in (draws.operations or {}).items():
        places.setdefault(_place(model, name), set()).add(kind)
    return [
        NotRepeatable(
            f"{place} draws random numbers with tf.random ({', '.join(sorted(kinds))}), whose "
            "state cannot be saved in a checkpoint: if this run is stopped and resumed, its "
            "weights will differ. Use keras.random with a keras.random.SeedGenerator instead.",
            "resumed",
        )
        for place, kinds in sorted(places.items())
    ]


def unrepeatable_in_augmentation(draws: RandomDraws) -> list[NotRepeatable]:
    """What makes an augmentation unrepeatable: its batches are made ahead of the training.

    Args:
        draws: of the function that makes a batch. Its generators are set by each batch's seed.
    """
    remedy = "Draw with tf.random.stateless_… and batch.seed instead."
    found = []
    if draws.operations:
        kinds = ", ".join(sorted(set(draws.operations.values())))
        found.append(
            NotRepeatable(
                f"The augmentation draws random numbers with tf.random or tf.image ({kinds}), not "
                f"by the batch's seed: if this run is stopped and resumed, its weights will "
                f"differ. {remedy}",
                "resumed",
            )
        )
    if draws.python:
        found.append(
            NotRepeatable(
                "The augmentation calls Python code (tf.py_function or tf.numpy_function), whose "
                f"random numbers do not repeat. {remedy}",
                "always",
            )
        )
    if draws.written:
        names = ", ".join(each.name.partition(":")[0] for each in draws.written)
        found.append(
            NotRepeatable(
                f"The augmentation changes variables ({names}), ahead of the training: if this run "
                "is stopped and resumed, its weights will differ. Use batch.epoch and "
                "batch.indices instead.",
                "resumed",
            )
        )
    return found


def _place(model: keras.Model, operation: str) -> str:
    """The innermost layer in an operation's name; TensorFlow numbers repeated scopes."""
    layers = {layer.name for layer in model._flatten_layers(include_self=False)}
    for part in reversed(operation.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return f"The layer {name!r}"
    return f"The training step ({operation})"
