"""The settings of every CIFAR-10 recipe. Imports neither NumPy nor TensorFlow."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from mlreg import RunConfig

TRAINING_IMAGES = 50_000
IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10


class CifarConfig(RunConfig):
    """The images for training, validation and test. Each recipe adds its own settings.

    Args:
        train_examples: number of training images, the same of each class; None uses all images
            that are not held out.
        validation_examples: number of training images to hold out for validation.
        watch_test: whether the test images are the validation split if none are held out; False
            then uses no validation split.
    """

    train_examples: int | None = Field(default=None, ge=CLASSES, le=TRAINING_IMAGES)
    validation_examples: int = Field(default=0, ge=0, le=TRAINING_IMAGES - CLASSES)
    watch_test: bool = False

    @model_validator(mode="after")
    def _images_suffice(self) -> Self:
        wanted = (self.train_examples or 0) + self.validation_examples
        if wanted > TRAINING_IMAGES:
            raise ValueError(
                f"train_examples and validation_examples are {wanted} together, "
                f"and there are {TRAINING_IMAGES} training images"
            )
        return self
