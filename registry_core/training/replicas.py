"""One model on several GPUs of this machine, by TensorFlow's MirroredStrategy.

Only the fit is spread: each device has a copy of the model, gets a part of each batch, and all take
the same step. Before and after it the model is an ordinary one. Keras's own
`keras.distribution.DataParallel` does nothing with TensorFlow (Keras 3.15).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from registry_core.errors import UsageError

# The end of the path of a random generator's state, (2,) uint32: a seed and a counter.
_SEED = "seed_generator_state"

# Each device draws with the generator's seed and this many for each device before it.
_SEED_STEP = 0x9E3779B9


def gpu_devices(gpus: int) -> list[str]:
    """The names of the first GPUs, this many; TensorFlow uses no others, if it has not begun to.

    Raises:
        UsageError: TensorFlow finds fewer.
    """
    found = tf.config.list_physical_devices("GPU")
    if len(found) < gpus:
        count = {0: "no GPU", 1: "1 GPU"}.get(len(found), f"{len(found)} GPUs")
        raise UsageError(
            f"--gpus {gpus}: TensorFlow finds {count} on this machine.",
            "Install NVIDIA's driver and tensorflow[and-cuda]; CUDA_VISIBLE_DEVICES may hide some.",
            "python -c 'import tensorflow; print(tensorflow.config.list_physical_devices())'",
        )
    with suppress(RuntimeError):  # a program has used TensorFlow before
        tf.config.set_visible_devices(found[:gpus], "GPU")
    return [f"GPU:{number}" for number in range(gpus)]


class Replicas:
    """The devices that a fit is spread over.

    Args:
        devices: their names; with one, a fit is what it always is.
        deterministic: add gradients in the same order each time, on one of the devices.
    """

    def __init__(self, devices: Sequence[str] = (), deterministic: bool = True) -> None:
        self.count = max(1, len(devices))
        self._devices = list(devices)
        self._deterministic = deterministic
        self._strategy: Any = None

    def check_batches(self, examples: int, batch_size: int) -> None:
        """Refuse batches of which a device would get nothing, or less than another one.

        Args:
            examples: of the training split.
            batch_size: of the run.

        Raises:
            UsageError: names a batch size that works.
        """
        count, last = self.count, examples % batch_size
        if count == 1 or self._suits(examples, batch_size):
            return
        works = max(count, batch_size // count * count)
        while not self._suits(examples, works):
            works += count
        if batch_size % count:
            raise UsageError(
                f"A batch of {batch_size:,} examples cannot be divided equally among {count} GPUs.",
                "The batch size must be a multiple of the number of GPUs.",
                f"-p batch_size={works}",
            )
        raise UsageError(
            f"The last batch of an epoch has {last:,} of {examples:,} examples, too few for "
            f"{count} GPUs.",
            "Change the batch size: a GPU would get none of them.",
            f"-p batch_size={works}",
        )

    def check_optimizer(self, optimizer: Any) -> None:
        """Refuse an optimizer that cannot work on several devices.

        Raises:
            UsageError: it accumulates gradients (Keras 3.15).
        """
        accumulates = any(
            getattr(each, "gradient_accumulation_steps", None) for each in _optimizers(optimizer)
        )
        if self.count > 1 and accumulates:
            raise UsageError(
                f"The optimizer accumulates gradients, which Keras cannot do on {self.count} GPUs.",
                "Leave gradient_accumulation_steps out, and use a larger batch.",
                "--gpus 1",
            )

    def _suits(self, examples: int, batch_size: int) -> bool:
        """Whether each device gets examples of each batch, and equally many but in the last."""
        last = examples % batch_size
        # TensorFlow gives each device this many, and the last device what is left
        part = -(-last // self.count)
        return not batch_size % self.count and (not last or part * (self.count - 1) < last)

    def line(self, batch_size: int) -> str:
        """`2 GPUs: each trains on 32 of the 64 examples of a batch`."""
        return (
            f"{self.count} GPUs: each trains on {batch_size // self.count:,} of the {batch_size:,} "
            "examples of a batch"
        )

    @contextmanager
    def spread(self, model: keras.Model) -> Iterator[None]:
        """Have a fit in the block train on all devices.

        Args:
            model: with all of its variables, its optimizer's and its metrics'.
        """
        if self.count == 1:
            yield
            return
        alone = model._distribute_strategy
        strategy = self._strategy = self._strategy or self._make_strategy()
        # with several devices Keras would read a batch to build the model that is built already,
        # and fail if the parts of the batch have different sizes
        model._maybe_symbolic_build = _do_nothing
        try:
            with strategy.scope():
                _move(model, strategy)
                yield
        finally:
            _move(model, alone)
            del model._maybe_symbolic_build

    def _make_strategy(self) -> Any:
        if self._deterministic:
            ordered = tf.distribute.ReductionToOneDevice()
            return tf.distribute.MirroredStrategy(self._devices, cross_device_ops=ordered)
        return tf.distribute.MirroredStrategy(self._devices)


def array_of(variable: Any) -> np.ndarray:
    """The value of a variable of Keras or TensorFlow; the mean where devices have their own."""
    first, *others = (np.asarray(part) for part in _parts(variable))
    if not _is_mean(variable) or all(np.array_equal(first, other) for other in others):
        return first
    mean: np.ndarray = np.mean([first, *others], axis=0, dtype="float64").astype(first.dtype)
    return mean


def identities(variables: Sequence[Any]) -> set[int]:
    """The ids of TensorFlow's variables behind these, on each device."""
    return {id(part) for variable in variables for part in _parts(variable)}


def of_each_device(variables: Sequence[Any]) -> list[Any]:
    """The variables, with those of each device in place of one whose values differ among them."""
    found: list[Any] = []
    for variable in variables:
        value = _plain(variable)
        own = (
            getattr(value, "synchronization", None) == tf.VariableSynchronization.ON_READ
            or getattr(value, "aggregation", None) == tf.VariableAggregation.NONE
        )
        found += _parts(variable) if own else [variable]
    return found


def _is_mean(variable: Any) -> bool:
    # not `is`: TensorFlow has two kinds of these names, which are equal
    return bool(getattr(_plain(variable), "aggregation", None) == tf.VariableAggregation.MEAN)


def _plain(variable: Any) -> Any:
    return variable.value if isinstance(variable, keras.Variable) else variable


def _parts(variable: Any) -> Sequence[Any]:
    """The variable of each device; the variable itself with one."""
    value = _plain(variable)
    return value.values if isinstance(value, tf.distribute.DistributedValues) else [value]


def _move(model: keras.Model, strategy: Any) -> None:
    """Make all variables of a model anew, where the strategy of this block puts them."""
    optimizers = list(_optimizers(model.optimizer))
    found = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    variables = list({id(each): each for each in found}.values())
    keys = [[each._var_key(variable) for variable in variables] for each in optimizers]
    metrics = {id(each) for each in model.metrics_variables}
    for variable in variables:
        value = array_of(variable)
        if strategy is None:
            variable._initialize(value)
        elif variable.path.endswith(_SEED):
            variable._initialize(value)
            for number, part in enumerate(_parts(variable)):
                part.assign(value + np.array([number * _SEED_STEP % 2**32, 0], value.dtype))
        elif _is_statistic(variable) and id(variable) not in metrics:
            variable._initialize(_mean_of_devices(value))
        else:
            variable._initialize(value)
    for each, before in zip(optimizers, keys, strict=True):
        renamed = {old: each._var_key(new) for old, new in zip(before, variables, strict=True)}
        for table in vars(each).values():
            if isinstance(table, dict) and table.keys() & renamed.keys():
                moved = {renamed.get(key, key): value for key, value in table.items()}
                table.clear()
                table.update(moved)
        each._distribution_strategy = strategy or tf.distribute.get_strategy()
    model._distribute_strategy = strategy
    model.train_function = model.test_function = model.predict_function = None


def _is_statistic(variable: keras.Variable) -> bool:
    """Whether each device calculates it from its own part of a batch, like a moving mean."""
    is_float = "float" in str(variable.dtype)
    return is_float and not variable.trainable and variable.aggregation == "none"


def _mean_of_devices(value: np.ndarray) -> tf.Variable:
    # Keras 3.15 would keep the statistics of the first device
    return tf.Variable(
        value,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )


def _optimizers(optimizer: Any) -> Iterator[Any]:
    """An optimizer and those in it."""
    yield optimizer
    inner = [getattr(optimizer, "inner_optimizer", None), *getattr(optimizer, "optimizers", ())]
    for each in inner:
        if isinstance(each, keras.optimizers.Optimizer):
            yield from _optimizers(each)


def _do_nothing(iterator: Any = None, data_batch: Any = None) -> None:
    """Replaces the method that builds the model."""
