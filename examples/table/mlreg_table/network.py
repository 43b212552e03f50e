"""The network: raw columns in, class logits or a quantity in its own unit out.

Everything it learned of the table is in its own layers, all of them Keras's: a version needs
neither the file nor this plugin to predict. TensorFlow loads here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import layers, ops

from mlreg import Classification
from mlreg_table.columns import KNOWN

if TYPE_CHECKING:
    from mlreg import DataSplits
    from mlreg_table import TableConfig

# A column with more texts than this gets an embedding in place of one unit for each text.
_MOST_ONE_HOT = 100
# Texts that are rarer in the training split share the place of those that are not in it.
_FEWEST_SEEN = 3


def build(config: TableConfig, data: DataSplits, learning_rate: Any) -> keras.Model:
    """Build and compile the model.

    Numbers are centred at the median of the training split and divided by the standard deviation;
    a missing one is taken for the median. A linear model and hidden layers are added up.

    Args:
        config: hidden, dropout, weight_decay.
        data: what is learned from it (medians, texts) comes from the training split alone.
        learning_rate: for the optimizer.

    Returns:
        A model of a dict of (batch,) inputs, named as in the split. It gives (batch, classes)
        logits, or (batch, 1) quantities.
    """
    columns: Mapping[str, np.ndarray] = data.train.inputs
    inputs = {
        name: layers.Input((), dtype="float32" if is_numeric(column) else "string", name=name)
        for name, column in columns.items()
    }
    features = layers.Concatenate()(
        [
            *_numbers(inputs, columns),
            *(
                _category(inputs[name], column)
                for name, column in columns.items()
                if not is_numeric(column)
            ),
        ]
    )
    hidden = features
    for units in config.hidden:
        hidden = layers.Dense(units, activation="relu")(hidden)
        hidden = layers.Dropout(config.dropout)(hidden)
    has_classes = isinstance(data.task, Classification)
    units = len(data.task.class_names) if has_classes else 1
    outputs = layers.Dense(units, dtype="float32")(features)
    if config.hidden:
        deep = layers.Dense(units, dtype="float32")(hidden)
        outputs = layers.Add(dtype="float32")([outputs, deep])
    if has_classes:
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        metrics, scale = ["accuracy"], 1.0
    else:
        targets = np.asarray(data.train.targets, "float64")
        scale, median = float(targets.std()) or 1.0, float(np.median(targets))
        outputs = layers.Rescaling(scale, median, dtype="float32")(outputs)
        loss, metrics = keras.losses.MeanAbsoluteError(), ["mae"]
    model = keras.Model(inputs, outputs)
    model.compile(
        # the gradients are in the target's unit: so is epsilon, and the unit changes nothing
        optimizer=keras.optimizers.AdamW(
            learning_rate, weight_decay=config.weight_decay, epsilon=1e-7 * scale
        ),
        loss=loss,
        metrics=metrics,
    )
    return model


def is_numeric(column: np.ndarray) -> bool:
    return np.asarray(column).dtype.kind in "biuf"


def _numbers(
    inputs: Mapping[str, keras.KerasTensor], columns: Mapping[str, np.ndarray]
) -> list[keras.KerasTensor]:
    """All numbers, standardized, and whether each one is known that may be missing."""
    numeric = [name for name, column in columns.items() if is_numeric(column)]
    flags = [name for name in numeric if name.endswith(KNOWN)]
    names = [name for name in numeric if name not in flags]
    if not names:
        return []
    medians, variances, known = [], [], []
    for name in names:
        values = np.asarray(columns[name], "float64")
        if name + KNOWN in flags:
            known.append(inputs[name + KNOWN])
            values = values[np.asarray(columns[name + KNOWN]) > 0]
        else:
            known.append(ops.ones_like(inputs[name]))
        medians.append(float(np.median(values)) if len(values) else 0.0)
        variances.append(float(values.var()) if len(values) else 1.0)
    variances = [variance or 1.0 for variance in variances]
    stacked = ops.stack([inputs[name] for name in names], axis=-1)
    # in float32 under any precision: 16 bits hold neither large numbers nor small differences
    scaled = layers.Normalization(mean=medians, variance=variances, dtype="float32")(stacked)
    if flags:
        scaled = layers.Multiply()([scaled, ops.stack(known, axis=-1)])
    # a number far from the others, such as a typing error, moves the sum by its logarithm
    found = [ops.arcsinh(scaled), ops.clip(scaled, -3.0, 3.0)]
    if flags:
        found.append(ops.stack([inputs[name] for name in flags], axis=-1))
    return found


def _category(tensor: keras.KerasTensor, column: np.ndarray) -> keras.KerasTensor:
    """A text as one unit for each text of the training split, or as an embedding."""
    texts, counts = np.unique(np.asarray(column).astype(str), return_counts=True)
    common = [str(text) for text in texts[counts >= _FEWEST_SEEN]] or [str(texts[counts.argmax()])]
    if len(common) <= _MOST_ONE_HOT:
        return layers.StringLookup(vocabulary=common, output_mode="one_hot")(tensor)
    lookup = layers.StringLookup(vocabulary=common)
    size = min(32, round(len(common) ** 0.5))
    return layers.Embedding(len(common) + 1, size)(lookup(tensor))
