"""The example `folder`: which images it finds and leaves out, and how it splits them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from registry_core.errors import DataError

pytestmark = pytest.mark.drawn


@pytest.fixture
def photos(tmp_path):
    """A folder with two classes of ten images each."""
    draw_classes(tmp_path / "photos", {"cats": 10, "dogs": 10})
    return tmp_path / "photos"


def draw(file: Path, seed: int, size: tuple[int, int] = (12, 8), mode: str = "RGB") -> Path:
    """Write an image of noise whose pixels follow from the seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image.convert(mode).save(file)
    return file


def draw_classes(folder: Path, counts: dict[str, int], first: int = 0) -> None:
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            draw(folder / name / f"{number}.png", first + 1000 * place + number)


def scanned(folder: Path, test: float = 0.3, validation: float = 0.2, size: int = 16):
    from mlreg_folder.scanning import scan

    return scan(folder, size, test, validation)


def names(found, split: str) -> set[str]:
    return {image.name for image in found.splits[split]}


def reasons(found) -> dict[str, str]:
    return {each.name: each.reason for each in found.skipped}


# --- finding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "gif", "bmp", "webp", "PNG"])
def test_reads_each_format_whatever_the_case_of_its_name(photos, suffix):
    draw(photos / "cats" / f"another.{suffix}", 77)
    found = scanned(photos)
    assert f"cats/another.{suffix}" in set().union(*(names(found, each) for each in found.splits))
    assert not found.skipped


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I", "I;16"])
def test_reads_each_mode_of_pixels_as_rgb(tmp_path, mode):
    from mlreg_folder.images import read_image

    grey = np.full((10, 20), 200, np.uint8)
    if mode in ("I", "I;16"):
        image = Image.fromarray(grey.astype(np.uint16) << 8)
    elif mode == "P":
        image = Image.fromarray(grey).convert("RGB").quantize(4)
    else:
        image = Image.fromarray(grey).convert("RGB").convert(mode)
    file = tmp_path / f"image.{'jpg' if mode == 'CMYK' else 'png'}"
    image.save(file)
    pixels = read_image(file, 16)
    assert pixels.shape == (16, 16, 3)
    assert pixels.dtype == np.uint8
    middle = pixels[8, 8].astype(int)
    assert abs(middle - (200 if mode != "1" else middle)).max() <= 6


def test_an_image_keeps_its_proportions_its_orientation_and_white_where_it_is_transparent(tmp_path):
    from mlreg_folder.images import read_image

    image = Image.new("RGB", (40, 20), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    image.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png", 20)
    assert (turned[:, 10] == (255, 0, 0)).all(), "as high as the square"
    assert (turned[:, 2] == 255).all(), "and half as wide"
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png", 20) == 255).all()


def test_everything_below_a_class_folder_is_of_that_class(photos):
    draw(photos / "cats" / "indoors" / "asleep" / "tom.png", 50)
    found = scanned(photos)
    image = next(
        each for images in found.splits.values() for each in images if each.name.endswith("tom.png")
    )
    assert image.class_name == "cats"


def test_hidden_files_and_other_files_are_not_images(photos):
    draw(photos / "cats" / ".hidden.png", 50)
    draw(photos / ".thumbnails" / "cats.png", 51)
    draw(photos / "__MACOSX" / "cats.png", 52)
    (photos / "cats" / "Thumbs.db").write_bytes(b"x")
    (photos / "labels.csv").write_text("x")
    found = scanned(photos)
    assert found.class_names == ["cats", "dogs"]
    assert sum(len(images) for images in found.splits.values()) == 20
    assert not found.skipped


def test_classes_are_numbered_in_the_order_of_their_names_whatever_their_case(tmp_path):
    draw_classes(tmp_path, {"Zebra": 8, "apple": 8, "Banana": 8})
    found = scanned(tmp_path)
    assert found.class_names == ["apple", "Banana", "Zebra"]
    for split, images in found.splits.items():
        labels = found.labels(split)
        numbers = dict(zip([image.class_name for image in images], labels, strict=True))
        assert all(found.class_names[number] == name for name, number in numbers.items())


def test_folders_whose_names_differ_in_case_alone_are_one_class(tmp_path):
    draw_classes(tmp_path, {"Cats": 5, "cats": 5, "dogs": 5})
    assert scanned(tmp_path).class_names == ["Cats", "dogs"]


def test_links_are_followed_but_not_round_in_circles(photos, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    draw(elsewhere / "one.png", 90)
    (photos / "cats" / "linked.png").symlink_to(elsewhere / "one.png")
    draw(tmp_path / "birds" / "bird.png", 91)
    (photos / "birds").symlink_to(tmp_path / "birds")
    (photos / "cats" / "round").symlink_to(photos)
    (photos / "cats" / "itself").symlink_to(photos / "cats")
    (photos / "dogs" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    found = scanned(photos)
    all_names = set().union(*(names(found, split) for split in found.splits))
    assert {"cats/linked.png", "birds/bird.png"} < all_names
    assert len(all_names) == 22
    assert reasons(found) == {"dogs/broken.png": "is a broken link"}


def test_names_with_spaces_commas_and_any_letters_work(tmp_path):
    draw_classes(tmp_path, {"größe, klein": 6, "日本 語": 6})
    found = scanned(tmp_path)
    assert found.class_names == ["größe, klein", "日本 語"]
    assert '"größe, klein/0.png"' in found.report()


# --- what is left out ---------------------------------------------------------------------------


def test_damaged_images_are_left_out_and_named(photos):
    whole = draw(photos / "cats" / "whole.jpg", 60, size=(80, 80)).read_bytes()
    (photos / "cats" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "cats" / "empty.png").write_bytes(b"")
    (photos / "dogs" / "text.gif").write_text("no image at all")
    png = bytearray((photos / "dogs" / "0.png").read_bytes())
    png[60] ^= 0xFF
    (photos / "dogs" / "flipped.png").write_bytes(png)
    (photos / "dogs" / "folder.png").mkdir()
    found = scanned(photos)
    assert set(reasons(found)) == {
        "cats/cut.jpg",
        "cats/empty.png",
        "dogs/text.gif",
        "dogs/flipped.png",
    }
    assert reasons(found)["dogs/text.gif"] == "cannot be decoded: no image of a known format"
    (warning,) = found.warnings()
    assert warning.startswith("4 images are left out: cats/cut.jpg cannot be decoded: ")


def test_a_long_list_is_cut_in_the_warning_and_whole_in_the_report(photos):
    for number in range(12):
        (photos / "cats" / f"damaged{number:02}.png").write_bytes(b"x")
    found = scanned(photos)
    assert found.warnings()[0].startswith("12 images are left out: cats/damaged00.png cannot be ")
    assert found.warnings()[0].endswith("; and 7 more.")
    lines = found.report().splitlines()
    assert len(lines) == 1 + 20 + 12
    assert "cats/damaged11.png,,,cannot be decoded: no image of a known format" in lines
    assert sum(line.endswith(",test,") for line in lines) == len(found.splits["test"])


def test_an_unreadable_file_is_left_out_and_named(photos, monkeypatch):
    read = Path.read_bytes

    def denied(path):
        if path.name == "3.png":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert set(reasons(scanned(photos)).values()) == {"cannot be read: Permission denied"}


def test_a_class_without_images_is_left_out_with_a_warning(photos):
    (photos / "birds").mkdir()
    (photos / "fish").mkdir()
    (photos / "fish" / "damaged.png").write_bytes(b"x")
    found = scanned(photos)
    assert found.class_names == ["cats", "dogs"]
    assert "Left out, without a usable image: birds, fish." in found.warnings()


def test_equal_images_are_there_once(photos):
    shutil.copy(photos / "cats" / "0.png", photos / "cats" / "copy.png")
    Image.open(photos / "cats" / "1.png").save(photos / "cats" / "same_pixels.bmp")
    found = scanned(photos)
    assert sum(len(images) for images in found.splits.values()) == 20
    assert sorted(reasons(found).values())[0] == "equals cats/0.png"
    assert len(found.skipped) == 2


def test_an_image_that_is_in_two_classes_is_in_neither(photos):
    shutil.copy(photos / "cats" / "0.png", photos / "dogs" / "copy.png")
    assert reasons(scanned(photos)) == {
        "cats/0.png": "is in more than one class: cats, dogs",
        "dogs/copy.png": "is in more than one class: cats, dogs",
    }


# --- splits -------------------------------------------------------------------------------------


def test_every_image_is_in_one_split_and_the_parts_are_about_right(tmp_path):
    draw_classes(tmp_path, {"cats": 150, "dogs": 150})
    found = scanned(tmp_path, test=0.3, validation=0.1)
    sizes = {split: len(images) for split, images in found.splits.items()}
    assert sum(sizes.values()) == 300
    assert abs(sizes["test"] - 90) < 4 * (300 * 0.3 * 0.7) ** 0.5
    assert abs(sizes["validation"] - 30) < 4 * (300 * 0.1 * 0.9) ** 0.5
    contents = [{image.path.read_bytes() for image in images} for images in found.splits.values()]
    assert len(set().union(*contents)) == sum(map(len, contents))


def test_an_image_stays_in_its_split_when_others_come_go_and_are_renamed(photos):
    before = scanned(photos)
    tests = {image.path.read_bytes() for image in before.splits["test"]}
    assert tests
    draw_classes(photos, {"birds": 15}, first=9000)
    victim = before.splits["train"][0].path
    victim.unlink()
    for image in before.splits["test"]:
        image.path.rename(image.path.with_name(f"renamed_{image.path.name}"))
    after = scanned(photos)
    assert tests <= {image.path.read_bytes() for image in after.splits["test"]}
    assert not tests & {image.path.read_bytes() for image in after.splits["train"]}


def test_the_split_does_not_depend_on_the_size_of_the_images(photos):
    small, large = scanned(photos, size=16), scanned(photos, size=40)
    assert names(small, "test") == names(large, "test")


def test_folders_of_splits_are_taken_as_they_are(tmp_path):
    draw_classes(tmp_path / "train", {"cats": 6, "dogs": 6})
    draw_classes(tmp_path / "Test", {"Cats": 3, "dogs": 3}, first=5000)
    draw_classes(tmp_path / "val", {"cats": 2, "dogs": 2}, first=7000)
    found = scanned(tmp_path)
    assert found.class_names == ["Cats", "dogs"]
    assert {split: len(images) for split, images in found.splits.items()} == {
        "train": 12,
        "test": 6,
        "validation": 4,
    }


def test_a_split_without_a_folder_is_taken_from_train(tmp_path):
    draw_classes(tmp_path / "train", {"cats": 40, "dogs": 40})
    draw_classes(tmp_path / "test", {"cats": 3, "dogs": 3}, first=5000)
    found = scanned(tmp_path, validation=0.3)
    assert len(found.splits["test"]) == 6
    assert names(found, "validation")
    assert all(name.startswith("train/") for name in names(found, "validation"))
    assert not scanned(tmp_path, validation=0).splits["validation"]


def test_an_image_of_the_test_folder_is_not_trained_on(tmp_path):
    draw_classes(tmp_path / "train", {"cats": 6, "dogs": 6})
    draw_classes(tmp_path / "test", {"cats": 3, "dogs": 3}, first=5000)
    shutil.copy(tmp_path / "test" / "cats" / "0.png", tmp_path / "train" / "cats" / "again.png")
    found = scanned(tmp_path, validation=0)
    assert "test/cats/0.png" in names(found, "test")
    assert reasons(found) == {"train/cats/again.png": "equals test/cats/0.png"}


def test_a_class_always_has_an_image_to_train_on(tmp_path):
    draw_classes(tmp_path, {f"class{number}": 1 for number in range(8)} | {"dogs": 30})
    found = scanned(tmp_path, test=0.8, validation=0.1)
    assert {image.class_name for image in found.splits["train"]} == set(found.class_names)
    assert any(text.startswith("The test split has no image of: class0,") for text in found.notes)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text("x"), "is a file, not a folder"),
        (lambda folder: folder.mkdir(), "and has none (0 images below it)"),
        (lambda folder: draw(folder / "0.png", 1), "and has none (1 image below it)"),
        (lambda folder: draw_classes(folder, {"cats": 3}), "only one, cats (3 images below it)"),
        (
            lambda folder: [
                draw_classes(folder, {"cats": 3}),
                (folder / "dogs").mkdir(),
                (folder / "dogs" / "damaged.png").write_bytes(b"x"),
            ],
            "only cats has images that can be used; 1 were skipped. First: dogs/damaged.png",
        ),
    ],
    ids=["missing", "file", "empty", "no classes", "one class", "one usable class"],
)
def test_a_folder_that_cannot_be_used_is_refused_with_what_is_wrong(
    tmp_path, make: Callable[[Path], object], said: str
):
    folder = tmp_path / "photos"
    make(folder)
    with pytest.raises(DataError, match=r".") as caught:
        scanned(folder)
    assert said in " ".join(str(caught.value).split())


def test_too_few_images_for_a_test_split_are_refused(tmp_path):
    draw_classes(tmp_path, {"cats": 1, "dogs": 1})
    with pytest.raises(DataError, match="The test split is empty: the folder has 2 images"):
        scanned(tmp_path)


# --- settings and weights -----------------------------------------------------------------------


def test_a_relative_path_is_recorded_in_full(tmp_path, monkeypatch):
    from mlreg_folder.config import FolderConfig

    monkeypatch.chdir(tmp_path)
    assert FolderConfig(path="photos/").path == str(tmp_path / "photos")
    assert FolderConfig().path == ""


def test_every_setting_is_described():
    from mlreg_folder.config import FolderConfig

    own = set(FolderConfig.model_fields) - set(FolderConfig.__base__.model_fields)
    assert not [name for name in own if not FolderConfig.model_fields[name].description]


def test_a_backbone_is_used_where_its_weights_are_and_nothing_is_downloaded_unasked(
    tmp_path, monkeypatch
):
    from mlreg_folder.config import FolderConfig
    from mlreg_folder.weights import cached_weights, describe, find_weights

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    automatic = FolderConfig(size=100)
    assert find_weights(automatic) is None
    assert "no weights" in describe(automatic)
    with pytest.raises(DataError, match="are not on this machine"):
        find_weights(FolderConfig(backbone="EfficientNetV2B0"))
    assert find_weights(FolderConfig(download=True)) == "imagenet"
    with pytest.raises(DataError, match="do not exist"):
        find_weights(FolderConfig(weights=str(tmp_path / "none.h5")))
    cached = cached_weights(automatic)
    assert cached.name == "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    cached.parent.mkdir()
    cached.write_bytes(b"")
    assert find_weights(automatic) == cached
    assert find_weights(FolderConfig(size=100, backbone="none")) is None


def test_fine_tuning_needs_a_backbone_and_epochs_before_it(tmp_path, monkeypatch):
    from mlreg_folder.config import FolderConfig
    from mlreg_folder.weights import find_weights

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(DataError, match="there is no backbone to train"):
        find_weights(FolderConfig(epochs=5, fine_tune_epochs=2))
    with pytest.raises(ValueError, match="fine_tune_epochs is below epochs"):
        FolderConfig(epochs=5, fine_tune_epochs=5)


def test_the_learning_rate_falls_and_starts_again_lower_when_the_backbone_is_trained():
    import mlreg_folder
    from mlreg_folder.config import FolderConfig

    config = FolderConfig(epochs=7, fine_tune_epochs=3, learning_rate=0.01)
    rates = [mlreg_folder.mlreg_scheduler(config)(epoch) for epoch in range(7)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[3] == pytest.approx(0.0001)
    assert rates[4] == pytest.approx(0.0001)
    assert rates[6] == pytest.approx(0.000001)
    assert rates[:4] == sorted(rates[:4], reverse=True)
    assert mlreg_folder.mlreg_scheduler(FolderConfig(epochs=1))(0) == pytest.approx(0.001)


def test_without_a_folder_the_command_to_type_is_named():
    import mlreg_folder

    said = SimpleNamespace(say=print, warn=print)
    with pytest.raises(DataError, match="No folder of images") as caught:
        mlreg_folder.mlreg_dataset(next(iter(mlreg_folder.mlreg_presets().values())), None, said)
    assert "mlreg run folder -p path=photos/" in str(caught.value)
