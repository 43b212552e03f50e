"""Images in a folder for each class.

TensorFlow, Keras, NumPy and Pillow load in the hooks that need them.
"""

from __future__ import annotations

import math
from pathlib import Path

from mlreg import Classification, DataError, DataSplits, IndexedSplit, Phase, hookimpl
from mlreg_folder.config import FolderConfig

# of the learning rate, while the backbone is trained
FINE_TUNE_RATE = 0.01

# configuration -> what became of each image, until the run's folder is known
_reports: dict[str, str] = {}


@hookimpl
def mlreg_presets():
    """`baseline` for an answer, `quick` for a look."""
    return {
        "baseline": FolderConfig(about="a first useful model", epochs=30),
        "quick": FolderConfig(about="whether everything works", epochs=3, size=32, filters=8),
    }


@hookimpl
def mlreg_dataset(config, data_dir, progress):
    """Find the images, leave out what cannot be read, and split the rest by content."""
    from mlreg_folder import weights
    from mlreg_folder.scanning import scan
    from mlreg_folder.source import Images

    folder = data_dir or config.path
    if not folder:
        raise DataError(
            "No folder of images was named.",
            "It has a folder for each class, with images in it.",
            "mlreg run folder -p path=photos/",
        )
    progress.say(weights.describe(config))
    found = scan(
        Path(folder), config.size, config.test_fraction, config.validation_fraction, progress.say
    )
    for note in found.warnings():
        progress.warn(note)
    _reports[config.model_dump_json()] = found.report()

    def split(name):
        images = found.splits[name]
        source = Images(images, found.labels(name), config.size)
        classes = ",".join(map(str, found.labels(name)))
        return IndexedSplit(
            source,
            fingerprint=f"{config.size} pixels; classes {classes}",
            files=[image.path for image in images],
        )

    return DataSplits(
        train=split("train"),
        test=split("test"),
        validation=split("validation") if found.splits["validation"] else None,
        task=Classification(found.class_names),
        source=f"the folder {Path(folder).absolute().name}",
    )


@hookimpl
def mlreg_augmentation(config):
    """Mirror and move the training images."""
    from mlreg_folder.augmentation import augment

    return augment(config.size, config.flip, config.shift)


@hookimpl
def mlreg_scheduler(config):
    """Down to a hundredth along half a cosine; once more from less, while the backbone is trained.

    The backbone knows what it knows: large steps would ruin it.
    """
    first = config.epochs - config.fine_tune_epochs

    def rate(epoch):
        if epoch < first:
            return config.learning_rate * _cosine(epoch, first)
        again = _cosine(epoch - first, config.fine_tune_epochs)
        return FINE_TUNE_RATE * config.learning_rate * again

    return rate


@hookimpl
def mlreg_model(config, data, learning_rate):
    """A frozen backbone where its weights are at hand, or a small network."""
    from mlreg_folder.network import build

    return build(config, len(data.class_names), learning_rate)


@hookimpl
def mlreg_phases(config):
    """The last layer alone, then the backbone too, if that is asked for."""
    if not config.fine_tune_epochs:
        return None
    from mlreg_folder.network import thaw

    def fine_tune(model):
        thaw(model, FINE_TUNE_RATE * config.learning_rate)

    first = config.epochs - config.fine_tune_epochs
    return [Phase("head", first), Phase("fine-tune", config.fine_tune_epochs, fine_tune)]


@hookimpl
def mlreg_callbacks(config, run_dir):
    """Keep the list of images with the version: which split each is in, or why it is left out."""
    report = _reports.get(config.model_dump_json())
    if report is not None:
        (run_dir / "kept" / "images.csv").write_text(report, "utf-8")
    return []


@hookimpl
def mlreg_input_suffixes():
    """What `mlreg predict` takes of a folder."""
    from mlreg_folder.images import SUFFIXES

    return sorted(SUFFIXES)


@hookimpl
def mlreg_inputs(paths, config):
    """Read images as those of the folder were read: (images, size, size, 3) uint8."""
    import numpy as np

    from mlreg_folder.images import read_image

    return np.stack([read_image(path, config.size) for path in paths])


def _cosine(epoch, epochs):
    """From 1 in the first epoch to 0.01 in the last."""
    done = epoch / max(1, epochs - 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
