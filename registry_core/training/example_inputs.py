"""Deterministic example inputs, made from a model's input shapes, dtypes and vocabularies.

They show whether two models have the same outputs when no dataset is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Examples per batch if the model does not fix it: enough for several words of a vocabulary.
BATCH = 8

# Lengths to try for an axis of open length: small first, then what deep convolutions need.
_LENGTHS = (16, 64, 224)

# Number of words in a text of several words.
_WORDS_A_TEXT = 6

_UNKNOWN_WORD = "zzunknownzz"


def example_batches(model: keras.Model, batch: int = BATCH) -> Iterator[list[tuple[Any, ...]]]:
    """Make batches of inputs, of which a model may accept all, some or none.

    Values are signed numbers and bytes, else integers, else zeros. Texts and integers come from
    the model's vocabularies.

    Args:
        model: built, or loaded from a file.
        batch: examples per batch if the model leaves that open.

    Yields:
        Batches of one kind of values and one length of open axes, likely ones first: the positional
        arguments of a call, each a tensor or a nesting of tensors.
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

    for kinds in ((values.signed, values.from_bytes), (values.whole,), (values.zeros,)):
        yield from ([make(each, length) for each in kinds] for length in lengths)


_Numbers = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


class _Values:
    """Values that a model's layers accept: in range of embeddings, from vocabularies."""

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
        """Words of the vocabularies in turn; every second text has several words."""
        words = self._words or ["one", "two", "three"]
        count = int(np.prod(shape))
        # single known words first: a layer that looks up whole texts has no text of two words
        texts = [words[place * max(1, len(words) // count) % len(words)] for place in range(count)]
        for place in range(1, count, 2):
            texts[place] = " ".join(random.choice(words, _WORDS_A_TEXT))
        if count > 2:
            texts[-1] = _UNKNOWN_WORD
        return np.array(texts, dtype=object).reshape(shape)

    def whole(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        """Integers below the smallest embedding's size, or from integer vocabularies."""
        if self._numbers:
            return random.choice([*self._numbers, max(self._numbers) + 1], shape)
        return random.integers(0, self._top, shape)

    def signed(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return random.normal(size=shape)

    def from_bytes(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return random.integers(0, 256, shape).astype("float64")

    def zeros(self, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return np.zeros(shape)


def call_signature(model: keras.Model) -> tuple[Any, ...] | None:
    """The inputs of a call as specifications with shape and dtype; None if they are unknown."""
    if isinstance(model, keras.Sequential):
        return tuple(model.inputs) if model.inputs else None
    if getattr(model, "inputs", None):
        return (model.input,)
    # a subclassed model records the shapes that it was built with
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
    """The words, integers and embedding sizes of a model's layers."""
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
