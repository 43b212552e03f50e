"""Reads texts that have no labels, to predict them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlreg import DataError, Examples
from mlreg_text.reading import read_file

if TYPE_CHECKING:
    from mlreg_text import TextConfig

_TABLES = (".csv", ".jsonl", ".ndjson")


def read_new_texts(paths: Sequence[Path], config: TextConfig) -> Examples:
    """The texts of some files, named by their line or row.

    Args:
        paths: of `.csv`, `.jsonl` and `.ndjson` files the column of texts is read; of others, each
            line that is not empty is a text.
        config: text, separator, encoding.

    Returns:
        (examples,) texts.

    Raises:
        DataError: a file cannot be read, or has no column of texts.
    """
    import numpy as np

    counts, names, texts = [], [], []
    for path in paths:
        found = _of_table(path, config) if path.suffix.lower() in _TABLES else _lines(path, config)
        counts.append(len(found))
        names += [str(number) for number, _ in found]
        texts += [text for _, text in found]
    return Examples(np.array(texts, object), counts, names)


def _of_table(path: Path, config: TextConfig) -> list[tuple[int, str]]:
    texts = read_file(path, config, is_fixed=True)
    if config.text not in texts.columns:
        raise DataError(
            f"It has no column '{config.text}'.", f"Columns: {', '.join(map(str, texts.columns))}."
        )
    return list(enumerate(texts[config.text].fillna("").astype(str), start=1))


def _lines(path: Path, config: TextConfig) -> list[tuple[int, str]]:
    """Number and text of each line, without those that are empty."""
    encoding = "utf-8-sig" if config.encoding.lower() == "utf-8" else config.encoding
    try:
        lines = path.read_text(encoding).split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"It is not text in {config.encoding}: byte {error.start:,} is not valid."
        ) from None
    stripped = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return [(number, line) for number, line in stripped if line]
