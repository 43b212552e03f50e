"""The network: texts in, class logits out.

The vocabulary is that of the training split, and part of the model. TensorFlow loads here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from mlreg import MultiLabel

if TYPE_CHECKING:
    from mlreg import DataSplits
    from mlreg_text import TextConfig


def build(config: TextConfig, data: DataSplits, learning_rate: Any) -> keras.Model:
    """Build and compile the model.

    A text is a bag of words and of short phrases, each weighed by how rare it is (TF-IDF) and all
    together to length 1. A linear model and a hidden layer of them are added up.

    Args:
        config: ngrams, vocabulary, hidden, dropout, weight_decay.
        data: the vocabulary and its weights are those of the training split.
        learning_rate: for the optimizer.

    Returns:
        A model of (batch,) texts, which gives (batch, classes) logits: of one class for each text,
        or, if texts have several labels, of each label by itself.
    """
    vectorize = layers.TextVectorization(
        max_tokens=config.vocabulary, ngrams=config.ngrams, output_mode="tf_idf"
    )
    texts = np.asarray(data.train.inputs).tolist()
    vectorize.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    classes = len(data.class_names)

    inputs = layers.Input((), dtype="string")
    # the root: a word that is there four times counts twice as much
    features = layers.UnitNormalization()(ops.sqrt(vectorize(inputs)))
    outputs = layers.Dense(classes, dtype="float32")(features)
    if config.hidden:
        # words are dropped as well: no single one should decide
        hidden = layers.Dropout(config.dropout)(features)
        hidden = layers.Dense(config.hidden, activation="relu")(hidden)
        hidden = layers.Dropout(config.dropout)(hidden)
        deep = layers.Dense(classes, dtype="float32")(hidden)
        outputs = layers.Add(dtype="float32")([outputs, deep])
    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = ["accuracy"]
    if isinstance(data.task, MultiLabel):
        loss, metrics = keras.losses.BinaryCrossentropy(from_logits=True), []
    model = keras.Model(inputs, outputs)
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate, weight_decay=config.weight_decay),
        loss=loss,
        metrics=metrics,
    )
    return model
