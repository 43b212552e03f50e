"""Pictures of any kind and size become images as those of the dataset."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cifar_plugin.data.pictures import read_pictures
from cifar_plugin.plugin import mlreg_input_suffixes
from mlreg import DataError


class Progress:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def read(tmp_path):
    """Save a picture, and read it as `mlreg predict` does; what was said is in `read.said`."""

    def read(picture, name="picture.png", **options):
        picture.save(tmp_path / name, **options)
        progress = Progress()
        (image,) = read_pictures([tmp_path / name], progress)
        read.said = progress.said
        return image

    return read


def noise(height, width, channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), "uint8")
    return Image.fromarray(pixels)


def test_a_picture_of_the_datasets_size_keeps_every_pixel(read):
    picture = noise(32, 32)
    assert (read(picture) == np.asarray(picture)).all()
    assert read.said == []


def test_of_a_wide_picture_the_middle_is_taken_and_resized(read):
    """And the user is told."""
    pixels = np.zeros((64, 192, 3), "uint8")
    pixels[:, :64], pixels[:, 64:128], pixels[:, 128:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image = read(Image.fromarray(pixels))
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert (image[4:-4, 4:-4] == (0, 255, 0)).all()
    assert "resized to 32 × 32" in read.said[0]


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK", "I;16"])
def test_every_kind_of_pixel_becomes_rgb(read, mode):
    """What is transparent becomes white; 16 bits of grey keep their upper half."""
    name = "picture.tif" if mode == "CMYK" else "picture.png"
    if mode == "I;16":
        picture = Image.fromarray(np.full((32, 32), 40_000, "uint16"))
    elif mode in ("RGBA", "LA"):
        picture = Image.new(mode, (32, 32), 0)
    else:
        picture = noise(32, 32).convert(mode)
    image = read(picture, name)
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    if mode in ("RGBA", "LA"):
        assert (image == 255).all()
    if mode == "I;16":
        assert (image == 40_000 >> 8).all()


def test_a_turned_photograph_is_read_upright(read):
    """Its EXIF tag says how it was held."""
    pixels = np.zeros((32, 32, 3), "uint8")
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is at the right
    image = read(Image.fromarray(pixels), "picture.jpg", exif=exif, quality=100)
    assert image[:12].mean() > 240
    assert image[20:].mean() < 15


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_is_said_with_the_formats_that_can_be_read(tmp_path, content):
    """Not with the name of an exception."""
    file = tmp_path / "x.png"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"not a picture that can be read: PNG, JPEG.*TIFF\."):
        read_pictures([file], Progress())


def test_a_picture_that_is_cut_short_or_too_large_is_said_to_be_so(tmp_path, monkeypatch):
    """A small file can hold more pixels than memory does."""
    noise(32, 32).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:1500])
    with pytest.raises(DataError, match=r"It is damaged or cannot be read: .*truncated"):
        read_pictures([tmp_path / "cut.png"], Progress())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(DataError, match="too many pixels"):
        read_pictures([tmp_path / "whole.png"], Progress())


def test_a_folders_pictures_are_known_by_their_names():
    assert {".png", ".jpg", ".jpeg"} <= set(mlreg_input_suffixes())
