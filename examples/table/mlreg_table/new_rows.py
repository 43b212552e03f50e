"""Makes inputs of rows to predict, as training made them of the table that it had.

Nothing is decided on the new rows. Which columns are inputs, which are numbers and which texts, and
where a value may be missing, is what the version's record says of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlreg import DataError, Examples
from mlreg_table.columns import KNOWN, as_texts, plain_name
from mlreg_table.reading import read_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mlreg_table import TableConfig

# A row that cannot be predicted, by its number from 0, and why.
Problems = dict[int, str]


def read_new_rows(
    paths: Sequence[Path], config: TableConfig, signature: Mapping[str, Any] | None
) -> Examples:
    """The rows of some files, named by their numbers; the first after the names is 1.

    Args:
        paths: CSV or Parquet files. Columns that the model does not take are left out, the target
            among them.
        config: target, split, drop, missing, separator, encoding.
        signature: name of an input -> its dtype, as the version recorded it.

    Returns:
        Inputs as `make_inputs` makes them, and the rows that cannot be predicted.

    Raises:
        DataError: a file cannot be read, or lacks a column.
    """
    import numpy as np

    if signature is None:
        raise DataError(
            "The version does not say which columns its model takes: an older mlreg made it.",
            "Train it again; or load the model from Python.",
        )
    counts, names, unreadable, parts = [], [], [], []
    for path in paths:
        frame = read_file(path, config, is_fixed=True)
        inputs, problems = _inputs(frame, config, signature)
        good = np.array([number not in problems for number in range(len(frame))], bool)
        parts.append({name: values[good] for name, values in inputs.items()})
        counts.append(int(good.sum()))
        names += [str(number + 1) for number in np.flatnonzero(good)]
        unreadable += [(path, str(number + 1), why) for number, why in sorted(problems.items())]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Examples(joined, counts, names, unreadable)


def _inputs(
    frame: pd.DataFrame, config: TableConfig, signature: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], Problems]:
    import numpy as np

    columns = _columns(frame, config, signature)
    inputs: dict[str, np.ndarray] = {}
    problems: Problems = {}
    for name, column in columns.items():
        if signature[name]["dtype"] == "string":
            inputs[name] = as_texts(frame[column])
            continue
        known, numbers = _numbers(frame[column], column, problems)
        inputs[name] = np.where(known, numbers, 0).astype("float32")
        if name + KNOWN in signature:
            inputs[name + KNOWN] = known.astype("float32")
            continue
        for row in np.flatnonzero(~known):
            why = f"'{column}' is missing, which no training row had"
            problems.setdefault(int(row), why)
    return inputs, problems


def _columns(
    frame: pd.DataFrame, config: TableConfig, signature: Mapping[str, Any]
) -> dict[str, str]:
    """Input -> the column that it is made from.

    Training numbers inputs whose columns have the same plain name, in the order of the file.
    """
    skipped = {config.target, config.split, *config.drop}
    plain: dict[str, list[str]] = {}
    for column in frame.columns:
        if column not in skipped:
            plain.setdefault(plain_name(column).lower(), []).append(column)
    found = {}
    wanted = [name for name in signature if not name.endswith(KNOWN)]
    for name in wanted:
        columns = plain.get(name.lower(), [])
        if len(columns) > 1 or (not columns and _is_numbered(name, plain)):
            base = columns or plain[name.rpartition("_")[0].lower()]
            raise DataError(
                f"The columns {' and '.join(map(repr, base))} cannot be told apart: the model "
                "knows them by their letters and digits.",
                "Rename one in the training file, and train again.",
            )
        if not columns:
            raise DataError(
                f"There is no column for the input '{name}'.",
                f"The model takes {', '.join(wanted)}; the columns are "
                f"{', '.join(map(str, frame.columns))}.",
            )
        found[name] = columns[0]
    return found


def _is_numbered(name: str, plain: Mapping[str, Sequence[str]]) -> bool:
    base, _, number = name.rpartition("_")
    return number.isdigit() and len(plain.get(base.lower(), ())) > 1


def _numbers(values: pd.Series, column: str, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """Whether each value is there, and the values, both (rows,); what is no number is a problem."""
    import numpy as np
    import pandas as pd
    from pandas.api import types

    known = values.notna().to_numpy()
    if types.is_bool_dtype(values.dtype) or types.is_numeric_dtype(values.dtype):
        numbers = values.to_numpy("float64", na_value=float("nan"))
    else:
        texts = values.astype(object).where(values.notna(), "").astype(str).str.strip()
        truth = texts.str.lower().map({"true": 1.0, "false": 0.0})
        numbers = pd.to_numeric(texts, errors="coerce").fillna(truth).to_numpy("float64")
    usable = np.abs(numbers) <= np.finfo("float32").max
    for row in np.flatnonzero(known & ~usable):
        problems.setdefault(int(row), f"'{column}' is {values.iloc[row]!r}, not a finite number")
    return known, np.where(usable, numbers, 0)
