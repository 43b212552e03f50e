"""Turns the columns of a table into the inputs of a model: numbers and texts, one array for each.

| column | input |
|---|---|
| numbers, true and false | float32; if any is missing: 0 there, and in the input `NAME_known` |
| texts of which most are seen more than once | texts; a missing one is the empty text |
| the same value in every row; texts that are nearly all different | left out, with a message |
| dates | refused |
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mlreg import DataError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mlreg_table import TableConfig

# What the input is called that says where a number is known; no column's own input ends so.
KNOWN = "_known"
# Columns with at most this many different texts are categories, however few rows there are.
_FEW_TEXTS = 20
# From this share on, a column is taken for numbers, or dates, with some that cannot be read.
_MOST = 0.9
_DATE = r"\d{4}-\d{1,2}-\d{1,2}([ T].*)?|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}( .*)?"


def make_inputs(
    frame: pd.DataFrame, config: TableConfig, say: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Make the inputs from all columns but the target, the split and those to drop.

    Args:
        frame: the table.
        config: target, split, drop, categories.
        say: receives a line for each column that is left out or doubtful.

    Returns:
        Name -> (rows,) float32 or texts, and the columns that they are made from. A name is the
        column's, reduced to letters, digits and `_`: an exported model can have no other inputs.

    Raises:
        DataError: a column has dates, infinite numbers or a few texts among numbers, or no column
            is left.
    """
    import numpy as np

    skipped = {config.target, config.split, *config.drop}
    inputs: dict[str, np.ndarray] = {}
    used = []
    for column in frame.columns:
        if column in skipped:
            continue
        values = frame[column]
        known = values.notna().to_numpy()
        if not known.any() or (known.all() and values.nunique() == 1):
            say(f"column '{column}' is left out: it has the same value in every row")
            continue
        numbers = None if column in config.categories else as_numbers(values)
        name = _input_name(column, inputs)
        if numbers is not None:
            _check_numbers(column, numbers, known, say)
            inputs[name] = np.where(known, numbers, 0).astype("float32")
            if not known.all():
                inputs[name + KNOWN] = known.astype("float32")
            used.append(column)
            continue
        texts = as_texts(values)
        _check_texts(column, texts[known], config)
        different = len(set(texts[known]))
        if different > max(_FEW_TEXTS, known.sum() / 2) and column not in config.categories:
            say(f"column '{column}' is left out: {different:,} of {known.sum():,} texts differ")
            continue
        inputs[name] = texts
        used.append(column)
    if not inputs:
        raise DataError(
            "The table has no column left to predict from.",
            f"Its columns: {', '.join(frame.columns)}; the target is '{config.target}'.",
        )
    return inputs, used


def as_numbers(values: pd.Series) -> np.ndarray | None:
    """The values as (rows,) float64 with NaN where missing, or None if one is not a number.

    true and false are 1 and 0.
    """
    import pandas as pd
    from pandas.api import types

    if types.is_bool_dtype(values.dtype) or types.is_numeric_dtype(values.dtype):
        return values.to_numpy("float64", na_value=float("nan"))
    if types.is_datetime64_any_dtype(values.dtype):
        return None
    texts = values.dropna().astype(str).str.strip()
    truth = texts.str.lower().map({"true": 1.0, "false": 0.0})
    if not truth.isna().any():
        return truth.reindex(values.index).to_numpy("float64")
    numbers = pd.to_numeric(texts, errors="coerce")
    if numbers.isna().any():
        return None
    return numbers.reindex(values.index).to_numpy("float64")


def as_texts(values: pd.Series) -> np.ndarray:
    """The values as (rows,) texts without spaces at their ends; a missing one is empty."""
    return values.astype(object).where(values.notna(), "").astype(str).str.strip().to_numpy(object)


def rows(wrong: np.ndarray) -> str:
    """`rows 3, 17 and 40`; the first row after the names is row 1."""
    found = [str(number + 1) for number in wrong.nonzero()[0]]
    if len(found) == 1:
        return f"row {found[0]}"
    if len(found) > 6:
        return f"rows {', '.join(found[:5])} and {len(found) - 5:,} more"
    return f"rows {', '.join(found[:-1])} and {found[-1]}"


def _check_numbers(
    column: str, numbers: np.ndarray, known: np.ndarray, say: Callable[[str], None]
) -> None:
    import numpy as np

    infinite = known & ~(np.abs(numbers) <= np.finfo("float32").max)
    if infinite.any():
        raise DataError(
            f"Column '{column}' has numbers that are not finite or too large: {rows(infinite)}.",
            f"Correct them, or leave the column out: {_drop(column)}.",
        )
    if known.all() and (np.diff(numbers) == 1).all():
        say(
            f"column '{column}' counts the rows, so the model may learn the file's order; "
            f"to leave it out: {_drop(column)}"
        )


def _check_texts(column: str, texts: np.ndarray, config: TableConfig) -> None:
    import numpy as np
    import pandas as pd

    if column in config.categories:
        return
    series = pd.Series(texts).astype(str)
    if series.str.fullmatch(_DATE).mean() > _MOST:
        raise DataError(
            f"Column '{column}' has dates, such as {texts[0]}.",
            "Split it into numbers that matter, such as a year and a month, or leave it out.",
            _command(config, _drop_value(config, column)),
        )
    is_text = pd.to_numeric(series, errors="coerce").isna().to_numpy()
    if series.nunique() > _FEW_TEXTS and is_text.mean() < 1 - _MOST:
        odd = sorted(set(texts[is_text]))[:3]
        raise DataError(
            f"Column '{column}' has numbers, and {np.sum(is_text):,} texts such as "
            f"{', '.join(map(repr, odd))}.",
            "Correct them, or say that they mean a missing value.",
            _command(config, f"missing={_json([*config.missing, *odd])}"),
        )


def _input_name(column: str, taken: Iterable[str]) -> str:
    """The column's name in ASCII letters, digits and `_`, different from those taken."""
    name = plain_name(column)
    lower = {each.lower() for each in taken}
    if name.lower() not in lower:
        return name
    return next(f"{name}_{n}" for n in range(2, len(lower) + 3) if f"{name}_{n}" not in lower)


def plain_name(column: str) -> str:
    """The column's name in ASCII letters, digits and `_`; of two columns it may be the same."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", plain).strip("_") or "column"
    if name[0].isdigit():
        name = f"column_{name}"
    return f"{name}_" if name.lower().endswith(KNOWN) else name


def _drop(column: str) -> str:
    return f"-p {shlex.quote(f'drop={_json([column])}')}"


def _drop_value(config: TableConfig, column: str) -> str:
    return f"drop={_json([*config.drop, column])}"


def _json(texts: Iterable[str]) -> str:
    import json

    return json.dumps(list(texts), ensure_ascii=False)


def _command(config: TableConfig, setting: str) -> str:
    """The command that was typed, with one more setting."""
    words = [f"path={config.path}", f"target={config.target}", setting]
    return f"mlreg run table {' '.join(f'-p {shlex.quote(word)}' for word in words)}"
