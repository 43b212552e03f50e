"""Example inputs made from what a model says that it takes: the same ones every time.

They show whether two models answer alike where no dataset is at hand. Knows shapes, types and
vocabularies, and nothing of what the inputs mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Examples a batch, where the model does not fix it: enough that each meets another word.
BATCH = 8

# What stands for an axis of any length: small first, then what deep stacks of convolutions need.
_LENGTHS = (16, 64, 224)

# Words a text has, and how many words of a vocabulary are tried in all.
_WORDS_A_TEXT = 6

_UNKNOWN_WORD = "zzunknownzz"


def example_batches(model: keras.Model, batch: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    """Make batches of inputs, of which a model may take all, some or none.

    The values differ in kind: numbers of both signs and pixels, else whole numbers, else zeros.
    Texts and whole numbers are taken from the model's own vocabularies.

    Args:
        model: built, or loaded from a file.
        batch: examples in a batch, for a model that leaves that open.

    Yields:
        Batches of one kind and one choice of the lengths that the model leaves open, likely ones
        first: the positional arguments of a call, each a tensor or a nesting of tensors.
    """
    signature = call_signature(model)
    if signature is None:
        return
    values = _Values(model)
    open_lengths = any(None in spec.shape[1:] for spec in keras.tree.flatten(signature))
    lengths = _LENGTHS if open_lengths else _LENGTHS[:1]

    def make(numbers: _Numbers, length: int) -> tuple[Any, ...]:
        random = np.random.default_rng(0)

        def fill(spec: Any) -> Any:
            shape = (spec.shape[0] or batch, *(size or length for size in spec.shape[1:]))
            return values.tensor(spec, shape, numbers, random)

        made: tuple[Any, ...] = keras.tree.map_structure(fill, signature)
        return made

    for kinds in ((values.signed, values.pixels), (values.whole,), (values.zeros,)):
        yield from ([make(each, length) for each in kinds] for length in lengths)


_Numbers = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


class _Values:
    """Values that a model's layers can take: within their tables, out of their vocabularies."""

    def __init__(self, model: keras.Model) -> None:
        self._words, self._numbers, tables = _vocabularies(model)
        self._top = min(tables, default=10)

    def tensor(
        self, spec: Any, shape: tuple[int, ...], numbers: _Numbers, random: np.random.Generator
    ) -> Any:
        dtype = tf.as_dtype(spec.dtype)
        if dtype == tf.string:
            made = tf.constant(self.texts(shape, random), tf.string)
        elif dtype == tf.bool:
            made = tf.constant(random.integers(0, 2, shape).astype(bool))
        elif dtype.is_integer:
            made = tf.cast(tf.constant(self.whole(shape, random)), dtype)
        else:
            made = tf.cast(tf.constant(numbers(shape, random)), dtype)
        return tf.sparse.from_dense(made) if getattr(spec, "sparse", False) else made

    def texts(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """Words of the vocabularies, one after the other; every second text is several words."""
        words = self._words or ["one", "two", "three"]
        count = int(np.prod(shape))
        # known words alone first: a layer that looks up whole texts knows no text of two words
        texts = [words[place * max(1, len(words) // count) % len(words)] for place in range(count)]
        for place in range(1, count, 2):
            texts[place] = " ".join(random.choice(words, _WORDS_A_TEXT))
        if count > 2:
            texts[-1] = _UNKNOWN_WORD
        return np.array(texts, dtype=object).reshape(shape)

    def whole(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """Whole numbers below the smallest table's size, or of the vocabularies of numbers."""
        if self._numbers:
            return random.choice([*self._numbers, max(self._numbers) + 1], shape)
        return random.integers(0, self._top, shape)

    def signed(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return random.normal(size=shape)

    def pixels(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return random.integers(0, 256, shape).astype("float64")

    def zeros(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return np.zeros(shape)


def call_signature(model: keras.Model) -> tuple[Any, ...] | None:
    """What a call takes, as specifications with a shape and a dtype; None where nothing says it."""
    if isinstance(model, keras.Sequential):
        return tuple(model.inputs) if model.inputs else None
    if getattr(model, "inputs", None):
        return (model.input,)
    # a model with a call of its own remembers the shapes that it was built with
    built = model.get_build_config() or {}
    shapes = built.get("shapes_dict") or {"inputs": built.get("input_shape")}
    if any(shape is None for shape in shapes.values()):
        return None
    return tuple(_specifications(shape, model.input_dtype) for shape in shapes.values())


def _specifications(shape: Any, dtype: str) -> Any:
    if isinstance(shape, dict):
        return {name: _specifications(each, dtype) for name, each in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.InputSpec(dtype=dtype, shape=tuple(shape))
    return [_specifications(each, dtype) for each in shape]


def _vocabularies(model: keras.Model) -> tuple[list[str], list[int], list[int]]:
    """The words, the whole numbers and the sizes of tables that a model's layers have."""
    words: list[str] = []
    numbers: list[int] = []
    sizes: list[int] = []
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Embedding):
            sizes.append(layer.input_dim)
        elif hasattr(layer, "get_vocabulary"):
            known = [each for each in layer.get_vocabulary() if each not in ("", "[UNK]", -1)]
            if isinstance(layer, keras.layers.IntegerLookup):
                numbers.extend(int(each) for each in known)
            else:
                words.extend(str(each) for each in known)
    return words, numbers, sizes
