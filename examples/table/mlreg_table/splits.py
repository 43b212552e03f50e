"""Makes the splits of a table, and finds out whether its target is a class or a number.

Without a column that says so, a row's split depends on a digest of what the model gets of it: equal
rows are in the same split, and rows that are added to the file move no other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlreg import ArraySplit, Classification, DataError, DataSplits, Regression
from mlreg_table.columns import as_numbers, as_texts, make_inputs, rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mlreg_table import TableConfig

_NAMES = ("train", "test", "validation")
_FEWEST_ROWS = 20
_MOST_CLASSES = 20  # whole numbers with more different values are quantities


def make_splits(frame: pd.DataFrame, config: TableConfig, say: Callable[[str], None]) -> DataSplits:
    """Make inputs, targets and splits from a table.

    Args:
        frame: the table, with the target among its columns.
        config: the settings.
        say: receives a line for each column that is left out or doubtful.

    Returns:
        Each split's inputs are a dict of (rows,) arrays; its targets are (rows,) class numbers,
        int64, or quantities in their own unit, float32.

    Raises:
        DataError: there are too few rows, the target is unsuitable, or a split is empty.
    """
    if len(frame) < _FEWEST_ROWS:
        raise DataError(f"The table has {len(frame)} rows.", f"At least {_FEWEST_ROWS} are needed.")
    targets, task = _target(frame[config.target], config)
    inputs, used = make_inputs(frame, config, say)
    place = _column(frame, config) if config.split else _by_digest(frame[used], config)
    splits = {}
    for number, name in enumerate(_NAMES):
        chosen = place == number
        if chosen.any():
            splits[name] = ArraySplit(
                {key: column[chosen] for key, column in inputs.items()}, targets[chosen]
            )
    for name in ("train", "test"):
        if name not in splits:
            raise DataError(
                f"The {name} split of the {len(frame):,} rows is empty.",
                f"Name both in the column '{config.split}'."
                if config.split
                else "Choose another share for testing: -p test_fraction=0.3.",
            )
    _tell_unseen_classes(splits["train"], task, say)
    how = f"by the column {config.split}" if config.split else "by a hash of the row"
    return DataSplits(
        **splits, task=task, source=f"{config.path}: {len(frame):,} rows, split {how}"
    )


def _target(values: pd.Series, config: TableConfig) -> tuple[np.ndarray, Any]:
    """The targets of all rows, and the task."""
    import numpy as np

    name = config.target
    missing = values.isna().to_numpy()
    if missing.any():
        raise DataError(
            f"The target '{name}' is missing in {missing.sum():,} of {len(values):,} rows: "
            f"{rows(missing)}.",
            "Fill it in, or remove these rows from the file.",
        )
    numbers = as_numbers(values)
    is_class = config.task == "classification" or (
        config.task == "auto" and (numbers is None or _are_few_whole_numbers(numbers, values))
    )
    if not is_class:
        if numbers is None:
            texts = sorted(set(as_texts(values)))
            raise DataError(
                f"The target '{name}' has texts, such as {texts[0]!r}, and task=regression.",
                "Predict another column, or a class: -p task=classification.",
            )
        if not np.isfinite(numbers.astype("float32")).all():
            wrong = ~np.isfinite(numbers.astype("float32"))
            raise DataError(f"The target '{name}' is not finite: {rows(wrong)}.")
        return numbers.astype("float32"), Regression((name,), (config.unit,))
    texts = as_texts(values)
    names = sorted(set(texts), key=_numbers_first)
    if len(names) == 1:
        raise DataError(
            f"The target '{name}' has a single class: {names[0]!r}.",
            "A model can only tell two or more apart.",
        )
    if len(names) > len(values) / 2:
        raise DataError(
            f"The target '{name}' has {len(names):,} classes in {len(values):,} rows.",
            "Predict another column" + (", or a number: -p task=regression." if numbers is not None
            else "."),
        )  # fmt: skip
    number = {each: place for place, each in enumerate(names)}
    return np.array([number[text] for text in texts], "int64"), Classification(names)


def _are_few_whole_numbers(numbers: np.ndarray, values: pd.Series) -> bool:
    import numpy as np

    is_whole = bool((numbers == np.round(numbers)).all())
    return is_whole and len(np.unique(numbers)) <= _MOST_CLASSES


def _numbers_first(name: str) -> tuple[int, float, str]:
    """The order of classes: 2 before 10, and both before a text."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _column(frame: pd.DataFrame, config: TableConfig) -> np.ndarray:
    """Each row's split as a number, from a column of the table."""
    import numpy as np

    texts = as_texts(frame[config.split])
    wrong = np.array([text.lower() not in _NAMES for text in texts])
    if wrong.any():
        raise DataError(
            f"The column '{config.split}' has other texts, such as {texts[wrong][0]!r}, "
            f"in {rows(wrong)}.",
            f"It must have {', '.join(_NAMES)}.",
        )
    return np.array([_NAMES.index(text.lower()) for text in texts])


def _by_digest(frame: pd.DataFrame, config: TableConfig) -> np.ndarray:
    """Each row's split as a number, from a digest of its cells."""
    import numpy as np

    if config.test_fraction + config.validation_fraction >= 1:
        raise DataError(
            f"test_fraction {config.test_fraction} and validation_fraction "
            f"{config.validation_fraction} leave no row for training.",
            "Their sum must be below 1.",
        )
    columns = [as_texts(frame[name]).tolist() for name in sorted(frame.columns)]
    digests = (
        hashlib.blake2b(json.dumps(row).encode(), digest_size=8).digest()
        for row in zip(*columns, strict=True)
    )
    share = np.array([int.from_bytes(digest, "big") for digest in digests]) / 2.0**64
    return np.select(
        [share < config.test_fraction, share < config.test_fraction + config.validation_fraction],
        [_NAMES.index("test"), _NAMES.index("validation")],
        _NAMES.index("train"),
    )


def _tell_unseen_classes(train: ArraySplit, task: Any, say: Callable[[str], None]) -> None:
    if isinstance(task, Classification):
        seen = set(train.targets.tolist())
        unseen = [name for number, name in enumerate(task.class_names) if number not in seen]
        if unseen:
            say(f"no training row has the class {', '.join(map(repr, unseen))}")
