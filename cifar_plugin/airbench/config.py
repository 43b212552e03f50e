"""The settings of the airbench recipe, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from cifar_plugin.config import IMAGE_SHAPE, CifarConfig

# a convolution without padding, then three poolings by 2, leave 1 pixel
LEAST_PIXELS = 9

Pixels = Annotated[int, Field(ge=LEAST_PIXELS, le=IMAGE_SHAPE[0])]


class AirbenchConfig(CifarConfig):
    """Six 3 × 3 convolutions trained with Muon, after Keller Jordan's airbench94_muon.

    Learning rates are those of the first step, for gradients of the loss summed over a batch. They
    decay linearly to 0 at the last step; those of the whitening bias and, if
    `first_block_epochs` is below `epochs`, of the first block reach 0 earlier.

    Args:
        widths: channels of the three blocks.
        filter_learning_rate: of Muon, for the convolutions: the size of a step, whatever the size
            of the gradient.
        filter_momentum: of Muon.
        bias_learning_rate: of the biases of normalization and whitening.
        head_learning_rate: of the last layer.
        momentum: of the biases and the last layer.
        weight_decay: of the biases and the last layer: a step subtracts from a weight this
            fraction of it, times the batch size, times the remaining part of its learning rate.
        label_smoothing: the fraction of each target that is spread over all classes.
        translate_pixels: largest random translation along each axis, in pixels; the border is
            reflected.
        whitening_images: number of training images from which the first layer is computed.
        whitening_bias_epochs: for how many epochs the first layer's bias is trained.
        first_block_epochs: for how many epochs the first block's two convolutions and biases are
            trained; later ones take fewer operations. None trains them to the end.
        small_epochs: how many of the network's first epochs train on smaller images, which takes
            fewer operations; at most `epochs` less `proxy_epochs`. Its later epochs, validation and
            test have whole images.
        small_pixels: height and width of the smaller images, whose pixels are means over areas of
            the whole image; from 9 to 32. Several sizes share the small epochs equally, in this
            order; if that leaves a rest, later ones get one more.
        proxy_epochs: how many of the first epochs train a narrow network, the proxy, instead. It
            then chooses from each batch the images that the network is trained on: those for which
            its own loss is largest. 0 trains no proxy, and the network on all images.
        proxy_widths: channels of the proxy's three blocks.
        kept_share: the part of each batch that the proxy chooses, above 0 and at most 1.
        test_views: over how many views of an image predictions are means: 1 for the image, 2 with
            its mirror image, 4 with two translations by one pixel too, one of them mirrored, 6 with
            both translations as they are and mirrored. Each view takes as long as the first.
    """

    epochs: PositiveInt = 10
    batch_size: PositiveInt = 2000
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 256, 256)
    filter_learning_rate: PositiveFloat = 0.24
    filter_momentum: float = Field(default=0.6, ge=0, lt=1)
    bias_learning_rate: PositiveFloat = 0.053
    head_learning_rate: PositiveFloat = 0.67
    momentum: float = Field(default=0.85, ge=0, lt=1)
    weight_decay: NonNegativeFloat = 2e-6
    label_smoothing: float = Field(default=0.2, ge=0, lt=1)
    translate_pixels: int = Field(default=2, ge=0, le=16)
    whitening_images: PositiveInt = 5000
    whitening_bias_epochs: PositiveInt = 3
    first_block_epochs: PositiveInt | None = None
    small_epochs: NonNegativeInt = 0
    small_pixels: tuple[Pixels, ...] = Field(default=(24,), min_length=1)
    proxy_epochs: NonNegativeInt = 0
    proxy_widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (24, 64, 64)
    kept_share: float = Field(default=0.75, gt=0, le=1)
    test_views: Literal[1, 2, 4, 6] = 6

    @field_validator("small_pixels", mode="before")
    @classmethod
    def _as_sizes(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("precision")
    @classmethod
    def _has_enough_digits(cls, value: str) -> str:
        """The large tiles of the convolutions round too much in 16 bits."""
        if value != "float32":
            raise ValueError(
                "this preset's convolutions need float32; baseline and quick can be trained with "
                f"precision={value}"
            )
        return value

    @field_validator("test_views", mode="before")
    @classmethod
    def _as_number(cls, value: object) -> object:
        """Earlier versions recorded whether there were six."""
        return {"true": 6, "false": 1}.get(str(value).lower(), value)

    @model_validator(mode="after")
    def _epochs_suffice(self) -> Self:
        if self.proxy_epochs >= self.epochs:
            raise ValueError(
                f"proxy_epochs is {self.proxy_epochs}; it must be below epochs, {self.epochs}"
            )
        if self.small_epochs > self.network_epochs:
            before = f" less proxy_epochs, {self.proxy_epochs}" if self.proxy_epochs else ""
            raise ValueError(
                f"small_epochs is {self.small_epochs}; it must be at most epochs, "
                f"{self.epochs}{before}"
            )
        return self

    @property
    def small_sizes(self) -> Mapping[int, int]:
        """By the number of the network's epochs after which it ends, each size in pixels."""
        parts = len(self.small_pixels)
        ends = (self.small_epochs * part // parts for part in range(1, parts + 1))
        return dict(zip(ends, self.small_pixels, strict=True))

    @property
    def network_epochs(self) -> int:
        """How many epochs train the network that is registered."""
        return self.epochs - self.proxy_epochs


PRESETS: Mapping[str, AirbenchConfig] = MappingProxyType(
    {
        "airbench94": AirbenchConfig(
            about=(
                "Keller Jordan's airbench94_muon on all 50,000 images: 1,971,640 parameters, a "
                "whitening first layer, Muon, alternating flips, label smoothing, batch 2,000, "
                "10 epochs (the original has 8), answers averaged over six views. The test set "
                "is looked at once, at the end. Test accuracy 0.9424 ± 0.0009 (n = 5) on 2 cores "
                "of an AMD EPYC, 2026-11-27."
            ),
        ),
        "fast": AirbenchConfig(
            about=(
                "The same recipe on a narrow network, three epochs of 45,000 images, 5,000 held "
                "out: as good as the baseline, sooner. Its settings were chosen on the held-out "
                "images. Test accuracy 0.858 ± 0.005 (n = 5) on 2 cores of an AMD EPYC, "
                "2026-11-27."
            ),
            epochs=3,
            batch_size=1000,
            widths=(24, 64, 64),
            whitening_bias_epochs=1,
            validation_examples=5000,
        ),
    }
)
