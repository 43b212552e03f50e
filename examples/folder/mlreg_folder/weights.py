"""Where a backbone's weights are on this machine. Imports no Keras."""

from __future__ import annotations

import os
from pathlib import Path

from mlreg import DataError
from mlreg_folder.config import FolderConfig

# backbone -> the names of its files without the top, in the cache of keras.applications
FILES = {
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5",
    "EfficientNetV2B0": "efficientnetv2-b0_notop.h5",
}

# the sizes of images for which there are weights of MobileNetV2; any other takes the last
_SIZES = (96, 128, 160, 192, 224)


def find_weights(config: FolderConfig) -> Path | str | None:
    """The file of the backbone's weights; `imagenet` if Keras may download it; None without one.

    Raises:
        DataError: a backbone is asked for, and its weights are not there.
    """
    if config.backbone == "none":
        return _none(config)
    if config.weights:
        file = Path(config.weights)
        if not file.is_file():
            raise DataError(
                f"The weights {file} do not exist.",
                "Name a .h5 file that keras.applications has without the top, or leave them out.",
            )
        return file
    cached = cached_weights(config)
    if cached.is_file():
        return cached
    if config.download:
        return "imagenet"
    if config.backbone == "auto":
        return _none(config)
    raise DataError(
        f"The weights of {config.backbone} are not on this machine: {cached} does not exist.",
        "Name a file with -p weights=FILE, or let Keras download them with -p download=true.",
        "mlreg run folder -p backbone=none",
    )


def _none(config: FolderConfig) -> None:
    if config.fine_tune_epochs:
        raise DataError(
            f"fine_tune_epochs is {config.fine_tune_epochs}, and there is no backbone to train.",
            f"Its weights are looked for in {cached_weights(config)}.",
            "mlreg run folder -p weights=FILE",
        )


def cached_weights(config: FolderConfig) -> Path:
    """Where Keras puts the weights of the backbone when it downloads them."""
    name = config.backbone if config.backbone in FILES else "MobileNetV2"
    size = config.size if config.size in _SIZES else _SIZES[-1]
    home = os.environ.get("KERAS_HOME")
    keras_home = Path(home) if home else Path.home() / ".keras"
    return keras_home / "models" / FILES[name].format(size)


def describe(config: FolderConfig) -> str:
    """What will be trained, in words.

    Raises:
        DataError: as for `find_weights`.
    """
    weights = find_weights(config)
    if weights is not None:
        name = "MobileNetV2" if config.backbone == "auto" else config.backbone
        source = "weights that Keras downloads" if weights == "imagenet" else f"{weights}"
        last = config.fine_tune_epochs
        thawed = f" except in the last {last} epochs" if last else ""
        return f"Model: {name}, frozen{thawed}, with {source}"
    if config.backbone == "none":
        return "Model: a small convolutional network"
    return (
        "Model: a small convolutional network, because there are no weights of a pretrained one "
        f"({cached_weights(config)})"
    )
