"""The phases of a training: what each one changes in the model, and where it begins and ends.

A training without phases has one. A run that is resumed prepares the phases before its own again,
in order, so that the model and its optimizer have the variables of the checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from registry_core.errors import PluginError
from registry_core.training.random_draws import preserve_random_states, separate_generator
from registry_core.types import Phase

# The seed of a phase is the run's seed and this many for each phase before it.
_SEED_STEP = 7919


def prepare_phases(
    phases: Sequence[Phase],
    first: int,
    model: keras.Model,
    seed: int,
    create_variables: Callable[[], Any],
) -> Iterator[tuple[int, int]]:
    """Prepare the phases one by one, each when it begins.

    Args:
        phases: of the whole training; at least one.
        first: index of the phase in which training begins; those before it are prepared at once.
        model: is changed in place.
        seed: of the run.
        create_variables: makes the model's and the optimizer's variables where there are none yet.

    Yields:
        The index of a phase that is prepared, and the epoch after its last one.

    Raises:
        PluginError: a phase left the model in a state that cannot be trained.
    """
    end = 0
    for index, phase in enumerate(phases):
        end += phase.epochs
        if phase.prepare is not None:
            _prepare(phase, model, (seed + index * _SEED_STEP) % 2**31, seed)
        if index >= first:
            yield index, end
        else:
            # an optimizer remembers the variables that it was built with
            with preserve_random_states():
                create_variables()


def phase_line(phases: Sequence[Phase], index: int, model: keras.Model) -> str:
    """`Phase 2 of 2, all: epochs 4 to 10, trains 1,347 of 1,347 parameters`."""
    begin = sum(each.epochs for each in phases[:index])
    phase = phases[index]
    last = begin + phase.epochs
    epochs = f"epoch {last:,}" if phase.epochs == 1 else f"epochs {begin + 1:,} to {last:,}"
    trained = sum(math.prod(each.shape) for each in model.trainable_variables)
    return (
        f"Phase {index + 1} of {len(phases)}, {phase.name}: {epochs}, trains {trained:,} of "
        f"{model.count_params():,} parameters"
    )


def epochs_of_phases(phases: Sequence[Phase], epochs: int) -> list[int]:
    """How many epochs of each phase ran, of a training that ended after `epochs`."""
    ran = []
    for phase in phases:
        ran.append(max(0, min(phase.epochs, epochs)))
        epochs -= ran[-1]
    return ran


def _prepare(phase: Phase, model: keras.Model, seed: int, seed_of_run: int) -> None:
    """Call a phase's `prepare`, whose random numbers depend on the run's seed and the phase alone.

    A resumed run calls it with other random states than one that was never stopped.
    """
    if phase.prepare is None:
        return
    with preserve_random_states():
        keras.utils.set_random_seed(seed)
        with separate_generator(seed):
            phase.prepare(model)
        tf.random.set_seed(seed_of_run)
    if not model.compiled or getattr(model, "loss", None) is None:
        raise PluginError(
            f"After prepare of the phase '{phase.name}', the model is not compiled with a loss.",
            "Call model.compile(optimizer=…, loss=…, metrics=[…]) in prepare.",
        )
    trained = model.trainable_variables
    if not trained:
        raise PluginError(
            f"The phase '{phase.name}' has nothing to train: no layer is trainable.",
            "Set layer.trainable = True for some layers, and compile the model again.",
        )
    unknown = [each.path for each in trained if not _is_known(model.optimizer, each)]
    if unknown:
        more = ", …" if len(unknown) > 3 else ""
        raise PluginError(
            f"The phase '{phase.name}' trains variables that its optimizer does not know: "
            f"{', '.join(unknown[:3])}{more}.",
            "After changing what is trainable, call model.compile(…) with a new optimizer.",
        )


def _is_known(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> bool:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return not inner.built or any(each is variable for each in inner._trainable_variables)
