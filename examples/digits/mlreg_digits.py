"""Handwritten digits, 1,797 pictures of 8 × 8 pixels that come with scikit-learn.

Nothing is downloaded. The split depends on a picture's place in the dataset alone: of every ten,
the first two are for testing, the third is for validation, the other seven are for training.
"""

import math

from pydantic import Field

from mlreg import ArraySplit, Classification, DataSplits, RunConfig, hookimpl


class DigitsConfig(RunConfig):
    """The settings of the digits."""

    learning_rate: float = Field(
        0.003, gt=0, le=1, description="Adam's step size in the first epoch; it falls to 0"
    )
    filters: int = Field(32, ge=1, le=1024, description="of the first convolution; later ones 2×")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of features dropped in training")
    shift_pixels: int = Field(
        1, ge=0, le=4, description="largest random shift of a training picture, in each direction"
    )


@hookimpl
def mlreg_presets():
    """The first one is what `mlreg run digits` does."""
    return {
        "baseline": DigitsConfig(
            about="99.4 ± 0.2 % of the 360 test pictures, n = 3", epochs=30, batch_size=64
        ),
        "quick": DigitsConfig(about="the same for three epochs", epochs=3, batch_size=64),
    }


@hookimpl
def mlreg_dataset():
    """Load the pictures: (examples, 8, 8, 1) uint8 from 0, white, to 16; the digit of each."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images.astype("uint8")[..., np.newaxis]
    place = np.arange(len(images)) % 10

    def split(chosen):
        return ArraySplit(images[chosen], digits.target[chosen])

    return DataSplits(
        train=split(place >= 3),
        validation=split(place == 2),
        test=split(place < 2),
        task=Classification([str(digit) for digit in range(10)]),
        source="scikit-learn's copy of the UCI digits; splits by place modulo 10",
    )


@hookimpl
def mlreg_augmentation(config):
    """Move each training picture by its own few pixels; white comes in at the edges."""
    if not config.shift_pixels:
        return None
    import tensorflow as tf

    furthest = config.shift_pixels

    def shift(images, batch):
        """Shift (n, 8, 8, 1) pictures by whole pixels, from -furthest to furthest on each axis."""
        size = images.shape[1]
        moves = tf.random.stateless_uniform(
            (tf.shape(images)[0], 2), batch.seed, 0, 2 * furthest + 1, tf.int32
        )
        rows = moves[:, :1] + tf.range(size)
        columns = moves[:, 1:] + tf.range(size)
        margin = (furthest, furthest)
        images = tf.pad(images, [(0, 0), margin, margin, (0, 0)])
        images = tf.gather(images, rows, axis=1, batch_dims=1)
        return tf.gather(images, columns, axis=2, batch_dims=1)

    return shift


@hookimpl
def mlreg_scheduler(config):
    """Half a cosine, from the learning rate towards 0."""
    return lambda epoch: config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


@hookimpl
def mlreg_model(config, data, learning_rate):
    """Build three convolutions; TensorFlow loads here, for a run only."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(config.filters, 3, padding="same", activation="relu"),
            layers.Conv2D(2 * config.filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * config.filters, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(config.dropout),
            layers.Dense(len(data.class_names), dtype="float32"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@hookimpl
def mlreg_input_suffixes():
    """What `mlreg predict` takes of a folder."""
    return [".png", ".jpg", ".jpeg", ".bmp", ".gif"]


@hookimpl
def mlreg_inputs(paths, progress):
    """Read pictures of one digit each as those of the dataset: (pictures, 8, 8, 1) uint8.

    A picture of another size is made 8 × 8. Ink is 16 and paper 0: the colour at the border is
    taken for paper, so a picture may be dark on light or light on dark.
    """
    import numpy as np
    import tensorflow as tf

    digits = []
    for path in paths:
        decoded = tf.io.decode_image(path.read_bytes(), channels=1, expand_animations=False)
        if decoded.shape[:2] != (8, 8):
            progress.say("pictures of other sizes are made 8 × 8")
        grey = tf.image.resize(decoded, (8, 8), method="area").numpy()
        border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        ink = 255 - grey if np.median(border) > 127 else grey
        digits.append(np.round(ink * 16 / 255).astype("uint8"))
    return np.stack(digits)
