"""Model files of a few kilobytes that ask for gigabytes or hours, made by Keras and changed.

Keras could not build most of them itself: a sound model is saved, and a number in it is enlarged.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HUGE = 10**9


def rewrite(file: Path, change: Callable[[Any], Any]) -> Path:
    """Change the configuration in a saved model, and nothing else."""
    with zipfile.ZipFile(file) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = change(json.loads(content["config.json"]))
    content["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return file


def enlarge(item: Any, key: str, value: Any) -> Any:
    """The configuration with another value wherever this key is."""
    if isinstance(item, dict):
        return {k: value if k == key else enlarge(v, key, value) for k, v in item.items()}
    if isinstance(item, list):
        return [enlarge(each, key, value) for each in item]
    return item


def greedy(keras: Any) -> dict[str, tuple[str, Callable[[Path], object]]]:
    """name -> (what it asks for, a function that writes it)."""
    layers = keras.layers

    def of(key: str, value: Any, build: Callable[[], Any]) -> Callable[[Path], object]:
        def make(file: Path) -> None:
            build().save(file)
            rewrite(file, lambda config: enlarge(config, key, value))

        return make

    def chain(*parts: Any, shape: tuple[int, ...] = (2,), dtype: str = "float32") -> Any:
        return keras.Sequential([layers.Input(shape, dtype=dtype), *parts])

    def image(*parts: Any) -> Any:
        return chain(*parts, layers.GlobalAveragePooling2D(), shape=(4, 4, 1))

    def words(layer: Any) -> Any:
        return chain(layer, shape=(1,), dtype="string")

    def measured_by(metric: Any) -> Any:
        made = chain(layers.Dense(3))
        made.compile("sgd", "mse", [metric])
        return made

    return {
        "StringLookup of many unknown words": ("memory", of(
            "num_oov_indices", HUGE,
            lambda: words(layers.StringLookup(vocabulary=["a"], output_mode="multi_hot")),
        )),
        "IntegerLookup of many unknown numbers": ("memory", of(
            "num_oov_indices", HUGE,
            lambda: chain(layers.IntegerLookup(vocabulary=[1], output_mode="multi_hot")),
        )),
        "TextVectorization of long n-grams": ("memory", of(
            "ngrams", HUGE, lambda: words(layers.TextVectorization(vocabulary=["a"], ngrams=2))
        )),
        "AUC of many thresholds": ("memory", of(
            "num_thresholds", HUGE, lambda: measured_by(keras.metrics.AUC())
        )),
        "recall of many thresholds": ("memory", of(
            "num_thresholds", HUGE, lambda: measured_by(keras.metrics.RecallAtPrecision(0.5))
        )),
        "many categories": ("memory", of(
            "num_tokens", HUGE, lambda: chain(layers.CategoryEncoding(9, "multi_hot"))
        )),
        "a large picture": ("memory", of(
            "size", [30_000, 30_000], lambda: image(layers.UpSampling2D())
        )),
        "a large frame": ("memory", of(
            "padding", [[30_000, 30_000], [30_000, 30_000]], lambda: image(layers.ZeroPadding2D())
        )),
        "a large batch": ("memory", of(
            "batch_shape", [HUGE, 2], lambda: chain(layers.Dense(3))
        )),
        "many repetitions": ("memory", of(
            "n", HUGE, lambda: chain(layers.RepeatVector(3), layers.Flatten())
        )),
        "a long sequence": ("s", of(
            "n", 3_000_000,
            lambda: chain(layers.RepeatVector(3), layers.SimpleRNN(2), layers.Dense(3)),
        )),
        "models within models": ("s", lambda file: _nested(keras, file, levels=22)),
    }  # fmt: skip


def _nested(keras: Any, file: Path, levels: int) -> None:
    """Each model calls the one within it twice, so that the innermost is called 2^levels times."""
    layers = keras.layers
    inputs = layers.Input((2,), name="in")
    inner = keras.Model(inputs, layers.Activation("relu", name="relu")(inputs), name="inner")
    outer = keras.Model(inputs, inner(inner(inputs)), name="outer")
    outer.save(file)

    def nest(config: dict[str, Any]) -> dict[str, Any]:
        template, made = json.dumps(config), config
        for level in range(levels - 1):
            next_one = json.loads(template)
            (place,) = (
                n
                for n, layer in enumerate(next_one["config"]["layers"])
                if layer["name"] == "inner"
            )
            entry = next_one["config"]["layers"][place]
            entry["config"] = made["config"] | {"name": "inner"}
            next_one["config"]["name"] = f"level_{level}"
            made = next_one
        return made

    rewrite(file, nest)
