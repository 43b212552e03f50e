"""The host knows no dataset, and nothing that only images need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "registry_core"

# What `mlreg plugins new` writes is a plugin, for one kind of data.
TEMPLATES = CORE / "plugins" / "scaffold"

# Public datasets, and those of the plugins in this repository.
DATASETS = re.compile(
    r"cifar|mnist|svhn|imagenet|\bcoco\b|caltech|spirals?\b|\bdigits dataset|load_digits|\biris\b"
    r"|titanic|penguins|diamonds|\bwine\b|\bimdb\b|reuters|newsgroups",
    re.IGNORECASE,
)
IMAGES = re.compile(
    r"(?<![a-z])(images?|img|pictures?|pixels?|photos?|photographs?|rgb|rgba|jpe?gs?|pngs?|imshow)"
    r"(?![a-z])",
    re.IGNORECASE,
)

# file -> what it may say, and why
EXCEPTIONS = {
    # a command's examples can be typed: they name the plugin that is installed with mlreg
    "cli/*": "cifar",
    # figures are image files, and Matplotlib's words for what is drawn
    "evaluation/figures/*": "png|imshow|image|picture",
    # what a report shows of an example may be its picture, and figures are PNG files
    "reports/*": "png|pictures?|image|img",
    "reports/charts/*": "pictures?|pixels?|img",
    "sections.py": "png|pictures?",
    "evaluation/shown_examples.py": "png|pictures?",
    "evaluation/example_views.py": r"png|pictures?|pixels?|\bimage\b",
    "lifecycle/report_files.py": "pictures?|png",
    "plugins/hookspecs.py": "pictures?",
    "__init__.py": "Picture",
    # where each place of an example has a class of its own
    "tasks.py": "such as a pixel",
    # Keras's module of operations, which imported models may use
    "model_import/config_check.py": r"keras\.src\.ops\.image",
    # a setting of Keras
    "training/trainer.py": "image_data_format",
    # an operation of TensorFlow that draws without a seed, by its name
    "training/random_draws.py": r"tf\.image",
    # why a function of numbers may change their dtype, and what a report may be
    "conformance/models.py": "a shift between pixels",
    "conformance/fitting.py": "png",
    # a file of a common format, with which a plugin's reading is tried
    "conformance/reading.py": r"png|pictures?|PIL import Image|\bimage\b",
    # what a page may load, in the words of HTTP
    "web/access.py": "img-src",
    # files that can be named, and a page to look through
    "cli/predict.py": "png|pictures?|photos",
    # the kinds of project that can be written
    "cli/plugins.py": 'images, table, text or folder|cifar|"images"',
}


def allowed(file: Path) -> list[str]:
    path = file.relative_to(CORE)
    return [words for pattern, words in EXCEPTIONS.items() if path.match(pattern)]


FILES = sorted(file for file in CORE.rglob("*.py") if TEMPLATES not in file.parents)


def test_the_host_names_no_dataset_and_nothing_of_images():
    """In code, comments and messages: an example is an example, whatever it is of."""
    found = []
    for file in FILES:
        text = file.read_text("utf-8")
        for words in allowed(file):
            text = re.sub(words, "", text, flags=re.IGNORECASE)
        if not DATASETS.search(text) and not IMAGES.search(text):
            continue
        found += [
            f"{file}, line {number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), start=1)
            if DATASETS.search(line) or IMAGES.search(line)
        ]
    assert found == []


@pytest.mark.parametrize("line", ["cifar10@3", "spirals", "two images", "224-pixel", "IMG_SIZE"])
def test_such_words_are_found(line):
    """Inside names too."""
    assert DATASETS.search(line) or IMAGES.search(line)


def test_the_exceptions_are_needed():
    """One that nothing needs any longer is removed."""
    for pattern, words in EXCEPTIONS.items():
        files = [file for file in CORE.rglob("*.py") if file.relative_to(CORE).match(pattern)]
        assert any(re.search(words, file.read_text("utf-8"), re.IGNORECASE) for file in files), (
            pattern
        )
