"""A Keras model for each family of layers, and which formats hold it."""

from __future__ import annotations

from typing import Any

import numpy as np

FAMILIES = [
    "convolutions", "any size", "recurrent", "recurrent with a memory", "words by number",
    "attention", "adapted text", "adapted words", "words of the configuration",
    "words as the answer", "numbers looked up", "adapted numbers", "categories", "contrast",
    "brightness", "flips", "dropout that stays on", "mixed_bfloat16", "mixed_float16", "bfloat16",
    "int8", "two inputs", "named inputs and outputs",
]  # fmt: skip


def families(keras: Any) -> dict[str, Any]:
    """One model for each family of layers: name -> (the formats that hold it, how it is built)."""
    layers, every = keras.layers, ("h5", "savedmodel", "onnx", "litert")
    both, served, lite = ("h5", "savedmodel"), ("savedmodel",), ("h5", "savedmodel", "litert")

    def chain(shape, *parts, dtype="float32"):
        return keras.Sequential([layers.Input(shape, dtype=dtype), *parts])

    def adapted(layer, examples):
        layer.adapt(examples)
        return layer

    def looked_up(layer):
        return chain((1,), layer, layers.Embedding(9, 4), layers.Flatten(), dtype="string")

    def two_inputs():
        image, words = layers.Input((8, 8, 3), name="image"), layers.Input((None,), name="words")
        seen = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
        read = layers.LSTM(3)(layers.Embedding(20, 4)(words))
        return keras.Model([image, words], layers.Dense(2)(layers.Concatenate()([seen, read])))

    def named():
        inputs = {name: layers.Input((3,), name=name) for name in ("a", "b")}
        both = layers.Concatenate()(list(inputs.values()))
        return keras.Model(inputs, {"x": layers.Dense(2)(both), "y": layers.Dense(1)(both)})

    def branch():
        inputs = layers.Input((4,))
        return keras.Model(inputs, layers.Dropout(0.5)(layers.Dense(8)(inputs), training=True))

    def quantized():
        made = chain((16,), layers.Dense(8), layers.Dense(3))
        made.quantize("int8")
        return made

    image = (8, 8, 3)
    text = adapted(layers.TextVectorization(), ["red green", "blue"])
    return {
        "convolutions": (every, lambda: chain(
            image, layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.BatchNormalization(),
            layers.Activation("relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3),
        )),
        "any size": (every, lambda: chain(
            (None, None, 3), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()
        )),
        "recurrent": (every, lambda: chain((6, 4), layers.Bidirectional(layers.LSTM(3)))),
        "recurrent with a memory": (lite, lambda: keras.Sequential(
            [layers.Input(batch_shape=(4, 6, 3)), layers.GRU(3, stateful=True)]
        )),
        "words by number": (every, lambda: chain((None,), layers.Embedding(50, 4), layers.GRU(3))),
        "attention": (every, lambda: keras.Model(
            given := layers.Input((6, 8)), layers.MultiHeadAttention(2, 4)(given, given)
        )),
        "adapted text": (served, lambda: chain(
            (1,), text, layers.Embedding(9, 4), layers.GlobalAveragePooling1D(), dtype="string"
        )),
        "adapted words": (lite[1:], lambda: looked_up(
            adapted(layers.StringLookup(), ["a", "b"])
        )),
        "words of the configuration": (lite, lambda: looked_up(layers.StringLookup(
            vocabulary=["a", "b"]
        ))),
        "words as the answer": (lite, lambda: chain(
            (1,), layers.StringLookup(vocabulary=["a", "b"], invert=True), dtype="int64"
        )),
        "numbers looked up": (both, lambda: chain((5,), layers.IntegerLookup(vocabulary=[7, 9]))),
        "adapted numbers": (every, lambda: chain(
            (5,), adapted(layers.Normalization(), np.arange(50.0).reshape(10, 5)), layers.Dense(2)
        )),
        "categories": (both, lambda: chain(
            (5,), layers.Discretization([0.0, 1.0]), layers.CategoryEncoding(9)
        )),
        "contrast": (every[1:], lambda: chain(image, layers.RandomContrast(0.5), layers.Flatten())),
        "brightness": (
            every[1:], lambda: chain(image, layers.RandomBrightness(0.5), layers.Flatten())
        ),
        "flips": (every, lambda: chain(image, layers.RandomFlip(), layers.Flatten())),
        "dropout that stays on": (every, branch),
        "mixed_bfloat16": (both, lambda: chain((5,), layers.Dense(2, dtype="mixed_bfloat16"))),
        "mixed_float16": (every[:3], lambda: chain((5,), layers.Dense(2, dtype="mixed_float16"))),
        "bfloat16": (served, lambda: chain((5,), layers.Dense(2, dtype="bfloat16"))),
        "int8": (every[:3], quantized),
        "two inputs": (every, two_inputs),
        "named inputs and outputs": (every, named),
    }  # fmt: skip
