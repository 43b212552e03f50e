"""The settings of the plugin."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from mlreg import RunConfig


class FolderConfig(RunConfig):
    """The settings of every run (epochs, batch_size, seed, …), and these."""

    path: str = Field(
        "", description="the folder of images: a folder for each class, or train/ and test/"
    )
    size: int = Field(
        64, ge=32, le=1024, description="width and height of the model's images, in pixels"
    )
    test_fraction: float = Field(
        0.2, gt=0, lt=0.9, description="part of the images that is the test split, without test/"
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=0.5, description="part that is the validation split, without val/; 0: none"
    )
    learning_rate: float = Field(0.001, gt=0, le=1, description="of the first epoch, for Adam")
    filters: int = Field(
        32, ge=1, le=512, description="filters of the small network's first convolution"
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="before the last layer")
    flip: bool = Field(True, description="mirror half of the training images, left to right")
    shift: float = Field(
        0.1, ge=0, lt=0.5, description="move training images by up to this part of their size"
    )
    backbone: Literal["auto", "none", "MobileNetV2", "EfficientNetV2B0"] = Field(
        "auto",
        description="a pretrained network to start from; auto: MobileNetV2 if its weights are here",
    )
    weights: str = Field(
        "", description="the backbone's weights, a .h5 file without the top; empty: Keras's cache"
    )
    download: bool = Field(False, description="let Keras download the backbone's weights")
    fine_tune_epochs: int = Field(
        0,
        ge=0,
        description="of the epochs, the last that train the backbone too, at 1/100 the rate",
    )

    @field_validator("path", "weights")
    @classmethod
    def _absolute(cls, value: str) -> str:
        """The version's record names the folder wherever the command is typed."""
        return str(Path(value).expanduser().absolute()) if value else ""

    @model_validator(mode="after")
    def _has_a_first_phase(self) -> Self:
        if self.fine_tune_epochs >= self.epochs:
            raise ValueError("fine_tune_epochs is below epochs: the last layer is trained first")
        return self
