"""The training, validation and test images of a run.

The choice depends on the configuration alone and not on the seed, so that runs with different seeds
have the same examples and can be compared example by example.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from cifar_plugin.data.arrays import Arrays, Bytes
from cifar_plugin.data.constants import CLASS_NAMES
from mlreg import ArraySplit, DataError, DataSplits

Indices = npt.NDArray[np.intp]


class SplitConfig(Protocol):
    """The settings that decide the splits."""

    @property
    def train_examples(self) -> int | None:
        """How many images to train on; None takes all except the validation images."""

    @property
    def validation_examples(self) -> int:
        """How many training images to hold out for validation."""

    @property
    def watch_test(self) -> bool:
        """Whether the test split is the validation split if no images are held out."""


def split(arrays: Arrays, config: SplitConfig) -> DataSplits:
    """Split the arrays for a run.

    Validation images are chosen first, so they do not depend on `train_examples`.

    Raises:
        DataError: the configuration needs more images than there are.
    """
    test = ArraySplit(arrays.x_test, arrays.y_test)
    held, wanted = config.validation_examples, config.train_examples
    available = len(arrays.y_train)
    if held + (1 if wanted is None else wanted) > available:
        raise DataError(
            f"train_examples={wanted} and validation_examples={held} need more than the "
            f"{available:,} training images.",
            f"Their sum can be at most {available:,}.",
            "mlreg run cifar10 -p train_examples=10000",
        )
    everything = np.arange(available)
    watched = stratified(arrays.y_train, held, seed=0)
    rest = np.setdiff1d(everything, watched, assume_unique=True)
    chosen = rest
    if wanted is not None:
        chosen = rest[stratified(arrays.y_train[rest], wanted, seed=1)]
    validation = test if config.watch_test else None
    if held:
        validation = _part(arrays.x_train, arrays.y_train, watched)
    return DataSplits(
        train=_part(arrays.x_train, arrays.y_train, chosen),
        test=test,
        validation=validation,
        class_names=CLASS_NAMES,
        source=arrays.source,
    )


def stratified(targets: Bytes, examples: int, seed: int) -> Indices:
    """Choose the same number of examples of each class.

    Args:
        targets: (n,) class numbers.
        examples: how many to choose, at most n.
        seed: the same seed chooses the same examples; a smaller choice is part of a larger one.

    Returns:
        (examples,) ascending indices. The counts of two classes differ by at most one, unless a
        class has no more examples.
    """
    # RandomState's stream is frozen for ever; Generator's may change with NumPy
    random = np.random.RandomState(seed)
    by_class = [random.permutation(np.flatnonzero(targets == c)) for c in np.unique(targets)]
    # take one example of each class in turn, until there are enough
    rounds = np.concatenate([np.arange(len(members)) for members in by_class])
    order = np.argsort(rounds, kind="stable")[:examples]
    chosen: Indices = np.sort(np.concatenate(by_class)[order])
    return chosen


def _part(inputs: Bytes, targets: Bytes, indices: Indices) -> ArraySplit:
    if len(indices) == len(inputs):
        return ArraySplit(inputs, targets)  # no copy, so that the arrays stay memory-mapped
    return ArraySplit(inputs[indices], targets[indices])
