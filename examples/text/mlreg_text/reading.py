"""Reads texts and labels from a CSV or JSONL file, and splits them.

Without a column that says so, a text's split depends on a digest of the text: equal texts are in
the same split, and texts that are added to the file move no other.
"""

from __future__ import annotations

import difflib
import hashlib
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlreg import ArraySplit, Classification, DataError, DataSplits, MultiLabel, UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mlreg_text import TextConfig

_NAMES = ("train", "test", "validation")
_FEWEST_TEXTS = 20


def read_texts(config: TextConfig, data_dir: Path | None) -> pd.DataFrame:
    """Read the file; all cells are texts, and a missing one is None or NaN.

    Args:
        config: path, text, label, split, separator, encoding.
        data_dir: where a relative path starts; None is the current directory.

    Raises:
        UsageError: path is empty, or there is no such column.
        DataError: the file is missing or cannot be read.
    """
    columns = f"-p {shlex.quote(f'text={config.text}')} -p {shlex.quote(f'label={config.label}')}"
    if not config.path:
        raise UsageError(
            "The plugin 'text' needs a file of texts and labels.",
            "Name a CSV or JSONL file and its columns, as in the command below.",
            f"mlreg run text -p path=reviews.csv {columns}",
        )
    file = (data_dir or Path()) / Path(config.path).expanduser()
    if not file.is_file():
        beside = [each.name for each in file.parent.glob("*") if each.is_file()]
        near = difflib.get_close_matches(file.name, beside, n=1)
        raise DataError(
            f"There is no file {file}.",
            f"Did you mean {file.parent / near[0]}?" if near else "Give a CSV or JSONL file.",
            f"mlreg run text -p path=FILE {columns}",
        )
    frame = read_file(file, config)
    for name in filter(None, (config.text, config.label, config.split)):
        if name not in frame.columns:
            known = [str(column) for column in frame.columns]
            near = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            raise UsageError(
                f"{file.name} has no column '{name}'.", f"Columns: {', '.join(known)}.{meant}"
            )
    return frame


def read_file(file: Path, config: TextConfig, *, is_fixed: bool = False) -> pd.DataFrame:
    """Read a CSV or JSONL file; all cells are texts, and a missing one is None or NaN.

    Args:
        file: the file.
        config: separator, encoding.
        is_fixed: whether the configuration is that of a version, so that nobody can change it.

    Raises:
        UsageError: there is no such encoding.
        DataError: the file cannot be read.
    """
    import pandas as pd

    try:
        if file.suffix.lower() in (".jsonl", ".ndjson"):
            frame = pd.read_json(file, lines=True, dtype=False, encoding=config.encoding)
        else:
            encoding = "utf-8-sig" if config.encoding.lower() == "utf-8" else config.encoding
            frame = pd.read_csv(file, dtype=str, sep=config.separator, encoding=encoding)
            # pandas takes the first cell of every row for the row's name, if all have one too many
            if not isinstance(frame.index, pd.RangeIndex):
                raise ValueError("its rows have more cells than the first line has names.")
    except LookupError:
        raise UsageError(
            f"There is no encoding '{config.encoding}'.", "Try utf-8 or latin-1."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not text in {config.encoding}: byte {error.start:,} is not valid.",
            f"The version takes {config.encoding}."
            if is_fixed
            else "Name its encoding: -p encoding=latin-1.",
        ) from None
    except (ValueError, OSError) as error:  # pandas's own errors are ValueErrors
        raise DataError(
            f"{file} cannot be read: {str(error).strip()}",
            f"A CSV file starts with a line of names, separated by {config.separator!r}; a JSONL "
            "file has an object on each line.",
        ) from None
    return frame


def make_splits(frame: pd.DataFrame, config: TextConfig, say: Callable[[str], None]) -> DataSplits:
    """Make the splits.

    Args:
        frame: has the columns that the settings name.
        config: text, label, several, balance, split, test_fraction, validation_fraction.
        say: receives a line for what is doubtful.

    Returns:
        Each split's inputs are (examples,) texts; its targets are (examples,) class numbers, int64,
        or (examples, labels) float32 of 0 and 1 if a text may have several labels.

    Raises:
        UsageError: balance and several are both set.
        DataError: there are too few texts, a label is missing, there is a single class, or a split
            is empty.
    """
    import numpy as np

    if len(frame) < _FEWEST_TEXTS:
        raise DataError(f"The file has {len(frame)} texts.", f"It needs {_FEWEST_TEXTS} or more.")
    missing = frame[config.label].isna().to_numpy()
    if missing.any():
        first = ", ".join(str(row + 1) for row in np.flatnonzero(missing)[:5])
        raise DataError(
            f"The label '{config.label}' is missing in {missing.sum():,} of {len(frame):,} rows; "
            f"the first: {first}.",
            "Fill it in, or remove these rows from the file.",
        )
    if untold := int(frame[config.text].isna().sum()):
        say(f"{untold:,} rows have no text; it is taken for the empty text")
    texts = frame[config.text].fillna("").astype(str).to_numpy(object)
    targets, task = _several(frame, config) if config.several else _classes(frame, config)
    place = _column(frame, config) if config.split else _by_digest(texts, config)
    splits = {}
    for number, name in enumerate(_NAMES):
        if (chosen := place == number).any():
            weights = None
            if config.balance and name == "train":
                weights = _balanced(targets[chosen], task.class_names)
            splits[name] = ArraySplit(texts[chosen], targets[chosen], class_weights=weights)
    for name in ("train", "test"):
        if name not in splits:
            raise DataError(f"The {name} split of the {len(frame):,} texts is empty.")
    how = f"by the column {config.split}" if config.split else "by a hash of the text"
    source = f"{config.path}: {len(frame):,} texts, split {how}"
    return DataSplits(**splits, task=task, source=source)


def _classes(frame: pd.DataFrame, config: TextConfig) -> tuple[np.ndarray, Classification]:
    """The class number of each text, and the task."""
    labels = frame[config.label].astype(str).str.strip()
    names = sorted(set(labels), key=_numbers_first)
    _check_names(names, frame, config)
    number = {name: place for place, name in enumerate(names)}
    return labels.map(number).to_numpy("int64"), Classification(names)


def _several(frame: pd.DataFrame, config: TextConfig) -> tuple[np.ndarray, MultiLabel]:
    """Whether each text has each label, (examples, labels) of 0 and 1, and the task."""
    import numpy as np

    if config.balance:
        raise UsageError(
            "balance is for one class a text, and several names labels of which a text has many.",
            "Leave one of the two out.",
        )
    labels = [
        {label.strip() for label in cell.split(config.several)} - {""}
        for cell in frame[config.label].astype(str)
    ]
    names = sorted(set().union(*labels), key=_numbers_first)
    _check_names(names, frame, config)
    targets = [[float(name in of_one) for name in names] for of_one in labels]
    return np.array(targets, "float32"), MultiLabel(names)


def _check_names(names: Sequence[str], frame: pd.DataFrame, config: TextConfig) -> None:
    if len(names) < 2 or len(names) > len(frame) / 2:
        raise DataError(
            f"The label '{config.label}' has {len(names):,} classes in {len(frame):,} rows.",
            "It needs two or more, and some rows of each. Is it the right column?",
        )


def _balanced(targets: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Weights by which all classes that are there have the same part in the loss; mean 1."""
    import numpy as np

    counts = np.bincount(targets, minlength=len(names))
    share = len(targets) / np.count_nonzero(counts)
    return {name: share / int(count) for name, count in zip(names, counts, strict=True) if count}


def _numbers_first(name: str) -> tuple[int, float, str]:
    """The order of classes: 2 before 10, and both before a text."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _column(frame: pd.DataFrame, config: TextConfig) -> np.ndarray:
    """Each text's split as a number, from a column of the file."""
    import numpy as np

    names = frame[config.split].fillna("").astype(str).str.strip().str.lower()
    if not names.isin(_NAMES).all():
        wrong = names[~names.isin(_NAMES)].iloc[0]
        raise DataError(
            f"The column '{config.split}' has {wrong!r}.", f"It must have {', '.join(_NAMES)}."
        )
    return np.array([_NAMES.index(name) for name in names])


def _by_digest(texts: np.ndarray, config: TextConfig) -> np.ndarray:
    """Each text's split as a number, from a digest of the text."""
    import numpy as np

    if config.test_fraction + config.validation_fraction >= 1:
        raise DataError(
            f"test_fraction {config.test_fraction} and validation_fraction "
            f"{config.validation_fraction} leave no text for training.",
            "Their sum must be below 1.",
        )
    digests = [hashlib.blake2b(t.encode("utf-8", "replace"), digest_size=8) for t in texts]
    share = np.array([int.from_bytes(each.digest(), "big") for each in digests]) / 2.0**64
    return np.select(
        [share < config.test_fraction, share < config.test_fraction + config.validation_fraction],
        [_NAMES.index("test"), _NAMES.index("validation")],
        _NAMES.index("train"),
    )
