"""The images of one split, read by their index; TensorFlow and mlreg call it from threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlreg_folder.finding import ImageFile
from mlreg_folder.images import read_image


class Images:
    """A sequence of `(image, class number)`; each image is decoded when it is asked for.

    Args:
        images: the files.
        labels: the class number of each, from 0.
        size: width and height of the images, in pixels.
    """

    def __init__(self, images: Sequence[ImageFile], labels: Sequence[int], size: int) -> None:
        self._images, self._labels, self._size = images, labels, size

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The image: (size, size, 3) uint8, and its class number."""
        return read_image(self._images[index].path, self._size), self._labels[index]
