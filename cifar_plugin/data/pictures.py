"""Reads picture files as the dataset's images are: 32 × 32 pixels, RGB."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cifar_plugin.config import IMAGE_SHAPE
from cifar_plugin.data.arrays import Bytes
from mlreg import DataError, Progress

# what Pillow calls them -> what their names end in
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}
SUFFIXES = [suffix for suffixes in FORMATS.values() for suffix in suffixes]

_WHITE = (255, 255, 255)


def read_pictures(paths: Sequence[Path], progress: Progress) -> Bytes:
    """Decode pictures of any size.

    A picture that is not square is cropped to its middle; one of another size is resized. What is
    transparent becomes white. A 32 × 32 picture keeps every pixel.

    Args:
        paths: the files; their content decides on the format, not their names.
        progress: is told that pictures are resized.

    Returns:
        (pictures, 32, 32, 3) uint8, RGB.

    Raises:
        DataError: a file cannot be read, is no picture of a known format, is damaged, or has more
            pixels than Pillow regards as safe.
    """
    return np.stack([_read_or_say_why(path, progress) for path in paths])


def _read_or_say_why(path: Path, progress: Progress) -> Bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        return _read(path, progress)
    except UnidentifiedImageError:
        raise DataError(f"It is not a picture that can be read: {', '.join(FORMATS)}.") from None
    except Image.DecompressionBombError:
        raise DataError("It has too many pixels to be decoded safely.") from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"It is damaged or cannot be read: {reason}.") from error


def _read(path: Path, progress: Progress) -> Bytes:
    from PIL import Image, ImageOps

    height, width, _ = IMAGE_SHAPE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about harmless oddities
        with Image.open(path, formats=list(FORMATS)) as opened:
            opened.draft("RGB", (4 * width, 4 * height))  # a large JPEG is decoded at a lower scale
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits of grey: Pillow would cut off the upper half
                image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
            if image.mode != "RGB":
                layer = image.convert("RGBA")
                image = Image.new("RGBA", layer.size, (*_WHITE, 255))
                image = Image.alpha_composite(image, layer).convert("RGB")
            if image.size != (width, height):
                progress.say(
                    f"Pictures of other sizes are cropped to a square and resized to "
                    f"{width} × {height}"
                )
                image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)
