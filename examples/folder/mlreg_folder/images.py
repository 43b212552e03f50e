"""Read one image as pixels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# what Pillow calls them -> the names that their files have
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)

_BACKGROUND = (255, 255, 255)


def read_image(file: Path, size: int) -> np.ndarray:
    """Decode an image and fit it into a square, on white.

    The image keeps its proportions. Its orientation is that of its EXIF tag. Transparent parts are
    white, and so is what it does not fill. Of an animation it is the first frame.

    Args:
        file: the image; its content decides on the format, not its name.
        size: width and height of the square, in pixels.

    Returns:
        (size, size, 3) uint8, RGB.

    Raises:
        OSError: it cannot be read, is not an image of a known format, or is cut short.
        ValueError, SyntaxError: it is damaged.
        Image.DecompressionBombError: it has more pixels than Pillow regards as safe.
    """
    import numpy as np
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about harmless oddities
        with Image.open(file, formats=list(FORMATS)) as image:
            image.draft("RGB", (2 * size, 2 * size))  # a large JPEG is decoded at a lower scale
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I"):  # 16 bits of grey: Pillow would cut off the upper half
                image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
            image = image.convert("RGBA")
            image.thumbnail((size, size), Image.Resampling.BICUBIC)
            if max(image.size) < size:
                image = ImageOps.contain(image, (size, size), Image.Resampling.BICUBIC)
            square = Image.new("RGB", (size, size), _BACKGROUND)
            corner = ((size - image.width) // 2, (size - image.height) // 2)
            square.paste(image, corner, image)
    return np.asarray(square)
