"""The settings of the baseline recipe, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field, PositiveFloat, PositiveInt

from cifar_plugin.config import CifarConfig


class BaselineConfig(CifarConfig):
    """A small network trained with Adam on rotated, shifted and flipped images.

    Args:
        learning_rate: of Adam in the first epoch.
        decay_factor: the learning rate is multiplied by this at each decay.
        decay_epochs: epochs between two decays.
        augment: whether training images are augmented; False disables the next three settings.
        rotation_degrees: largest random rotation, in either direction.
        shift_fraction: largest random shift, as a fraction of height and width.
        horizontal_flip: whether half of the images are flipped.
        dropout: fraction of the last layer's outputs that is dropped in training.
        watch_test: whether the test images are the validation split, as in the original recipe.
    """

    learning_rate: PositiveFloat = Field(default=0.001, allow_inf_nan=False)
    decay_factor: float = Field(default=0.1, gt=0, le=1)
    decay_epochs: PositiveInt = 10
    augment: bool = True
    rotation_degrees: float = Field(default=15.0, ge=0, le=180)
    shift_fraction: float = Field(default=0.1, ge=0, lt=1)
    horizontal_flip: bool = True
    dropout: float = Field(default=0.25, ge=0, lt=1)
    watch_test: bool = True


PRESETS: Mapping[str, BaselineConfig] = MappingProxyType(
    {
        "baseline": BaselineConfig(
            about=(
                "A small convolutional network, 123,466 parameters: Adam, batch 32, 50 epochs, "
                "the learning rate divided by ten every ten, raw 0–255 inputs, each image turned, "
                "shifted and mirrored at random, the test images watched as validation. "
                "Test accuracy 0.779 ± 0.004 (n = 5) on 2 cores of an AMD EPYC, 2026-11-28; "
                "0.77 to 0.79 is the same recipe."
            ),
            epochs=50,
        ),
        "quick": BaselineConfig(
            about=(
                "The baseline recipe on 10,000 images, 1,000 of each class, for three epochs: "
                "to see that everything works, not to be good. Test accuracy 0.422 ± 0.067 (n = 5) "
                "on 2 cores of an AMD EPYC, 2026-11-27."
            ),
            epochs=3,
            train_examples=10_000,
        ),
    }
)
