"""Where training draws random numbers from, and whether a run can be repeated that does.

Keras's layers draw from generators of their own, which are variables of the model. A layer, a loss
or an augmentation can draw from elsewhere too: from variables that no model knows, which can be
kept and given back, or from TensorFlow's operations that count their draws inside, where nobody
can read them: these can only be told.
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

# How the state of Keras's SeedGenerator and of tf.random.Generator is called.
_GENERATORS = ("/seed_generator_state:0", "StateVar:0")


# --- of the process ------------------------------------------------------------------------------


def random_states() -> list[Any]:
    """Python's, NumPy's, TensorFlow's (for operations outside of functions) and Keras's."""
    tensorflow = getattr(context.context(), "_rng", None)
    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    return [
        random.getstate(),
        np.random.get_state(),
        None if tensorflow is None else tensorflow.getstate(),
        None if generator is None else np.asarray(generator.state.value),
    ]


def set_random_states(states: Sequence[Any]) -> None:
    """Set them again to what `random_states` returned."""
    python, numpy, tensorflow, keras_state = [*states, None, None][:4]
    if keras_state is not None:
        global_seed_generator().state.assign(keras_state)  # made here, it draws from Python's
    random.setstate(python)
    np.random.set_state(numpy)
    if tensorflow is not None:
        # a kernel that drew with the same seed before would go on counting
        context.context().clear_kernel_cache()
        context.context()._rng.setstate(tensorflow)


@contextmanager
def kept_random_states() -> Iterator[None]:
    """What is drawn inside moves nothing outside."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


@contextmanager
def own_generator(seed: int) -> Iterator[None]:
    """What is traced inside draws from a generator of its own, where it would from Keras's."""
    outside = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    own = keras.random.SeedGenerator(seed, name="augmentation_seed_generator")
    global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, own)
    try:
        yield
    finally:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, outside)


# --- of a function -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draws:
    """Where a traced function draws from.

    Args:
        generators: states of generators that it uses, in the order of their first use.
        others: other variables that it uses.
        written: those of the others that it changes.
        operations: name -> kind of the operations that count their draws inside.
        python: whether it calls Python code.
    """

    generators: Sequence[tf.Variable] = ()
    others: Sequence[tf.Variable] = ()
    written: Sequence[tf.Variable] = ()
    operations: dict[str, str] | None = None
    python: bool = False


def draws_of(graph: Any) -> Draws:
    """Look at the graph of a traced function, and of the functions that it calls."""
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
    return Draws(
        generators,
        [each for each, _ in others],
        [each for each, inside in others if _is_written(inside, calls_write)],
        {node.name: node.op for node in nodes if _counts_inside(node)},
        any("PyFunc" in node.op for node in nodes),
    )


def _is_written(handle: Any, calls_write: bool) -> bool:
    """Whether a variable is assigned, as far as can be told: a call of a function may do it."""
    kinds = {operation.type for operation in handle.consumers()}
    reads = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"}
    return any("Assign" in kind or (calls_write and kind not in reads) for kind in kinds)


def _counts_inside(node: Any) -> bool:
    # cuDNN's recurrent layers have a seed whether they drop anything or not
    drops = "dropout" not in node.attr or node.attr["dropout"].f > 0
    return "seed2" in node.attr and drops


def traced_step(model: keras.Model, dataset: tf.data.Dataset) -> Any:
    """The training step's graph, traced as `fit` will use it; None where it runs eagerly."""
    if model.run_eagerly:
        return None
    model.make_train_function()
    around = inspect.getclosurevars(model.train_function).nonlocals.values()
    (step,) = (each for each in around if isinstance(each, tf.types.experimental.GenericFunction))
    return step.get_concrete_function(tf.data.IteratorSpec(dataset.element_spec)).graph


def told_of_step(model: keras.Model, draws: Draws) -> list[NotRepeatable]:
    """What of a training step does not repeat where its run was stopped within an epoch."""
    places: dict[str, set[str]] = {}
    for name, kind in (draws.operations or {}).items():
        places.setdefault(_place(model, name), set()).add(kind)
    return [
        NotRepeatable(
            f"{place} draws random numbers with tf.random ({', '.join(sorted(kinds))}), which no "
            "checkpoint can hold: if this run is stopped and resumed, it ends in other weights. "
            "keras.random with a keras.random.SeedGenerator repeats.",
            "resumed",
        )
        for place, kinds in sorted(places.items())
    ]


def told_of_augmentation(draws: Draws) -> list[NotRepeatable]:
    """What of an augmentation does not repeat: its batches are made ahead of the training.

    Args:
        draws: of the function that makes a batch. Its generators are set by each batch's seed.
    """
    remedy = "Draw with tf.random.stateless_… and batch.seed: that repeats."
    told = []
    if draws.operations:
        kinds = ", ".join(sorted(set(draws.operations.values())))
        told.append(
            NotRepeatable(
                f"The augmentation draws random numbers with tf.random or tf.image ({kinds}), not "
                f"by the batch's seed: if this run is stopped and resumed, it ends in other "
                f"weights. {remedy}",
                "resumed",
            )
        )
    if draws.python:
        told.append(
            NotRepeatable(
                "The augmentation calls Python code (tf.py_function or tf.numpy_function). What "
                f"that draws by itself does not repeat. {remedy}",
                "always",
            )
        )
    if draws.written:
        names = ", ".join(each.name.partition(":")[0] for each in draws.written)
        told.append(
            NotRepeatable(
                f"The augmentation changes variables ({names}), ahead of the training: if this run "
                "is stopped and resumed, it ends in other weights. batch.epoch and batch.indices "
                "are there to be used instead.",
                "resumed",
            )
        )
    return told


def _place(model: keras.Model, operation: str) -> str:
    """The innermost layer in an operation's name; TensorFlow numbers the scopes that come twice."""
    layers = {layer.name for layer in model._flatten_layers(include_self=False)}
    for part in reversed(operation.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return f"The layer {name!r}"
    return f"The training step ({operation})"
