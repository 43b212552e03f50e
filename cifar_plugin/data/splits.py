"""Which images are trained on, which are watched, which are measured.

Every choice is a function of the configuration alone: runs that differ in their seed share their
examples, so that their results can be compared one by one. Knows no source.
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
    """What of a configuration decides the splits."""

    @property
    def train_examples(self) -> int | None:
        """How many images to train on; None takes all that are not held out."""

    @property
    def validation_examples(self) -> int:
        """How many training images to hold out and watch."""

    @property
    def watch_test(self) -> bool:
        """Whether the test set is watched where nothing is held out."""


def split(arrays: Arrays, config: SplitConfig) -> DataSplits:
    """Lay out the arrays for a run.

    Validation images are chosen first, so that they stay the same whatever is trained on.

    Raises:
        DataError: more images are asked for than there are.
    """
    test = ArraySplit(arrays.x_test, arrays.y_test)
    held, wanted = config.validation_examples, config.train_examples
    available = len(arrays.y_train)
    if held + (1 if wanted is None else wanted) > available:
        raise DataError(
            f"train_examples={wanted} and validation_examples={held} ask for more than the "
            f"{available:,} training images.",
            f"Together they may be {available:,} at most.",
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
    """Choose examples, as many of each class as of every other.

    Args:
        targets: (n,) class numbers.
        examples: how many to choose, n at most.
        seed: the same seed chooses the same, and of fewer examples a part of the same.

    Returns:
        (examples,) ascending indices. The counts of any two classes differ by one at most, unless
        a class has no more to give.
    """
    # RandomState, because its stream is frozen for good; Generator's may change with NumPy.
    random = np.random.RandomState(seed)
    by_class = [random.permutation(np.flatnonzero(targets == c)) for c in np.unique(targets)]
    # One of each class a round, in the order of the rounds: the first `examples` of that.
    rounds = np.concatenate([np.arange(len(members)) for members in by_class])
    order = np.argsort(rounds, kind="stable")[:examples]
    chosen: Indices = np.sort(np.concatenate(by_class)[order])
    return chosen


def _part(inputs: Bytes, targets: Bytes, indices: Indices) -> ArraySplit:
    if len(indices) == len(inputs):
        return ArraySplit(inputs, targets)  # as they are: a copy would leave the memory map
    return ArraySplit(inputs[indices], targets[indices])
