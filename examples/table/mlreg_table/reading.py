"""Reads a CSV or Parquet file into a data frame, and says what is wrong with the file."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlreg import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from mlreg_table import TableConfig


def read_table(config: TableConfig, data_dir: Path | None) -> pd.DataFrame:
    """Read the file. Cells of a CSV file stay texts; those of a Parquet file have its types.

    Args:
        config: path, target, missing, separator, encoding.
        data_dir: where a relative path starts; None is the current directory.

    Raises:
        UsageError: path or target is empty, or the table has no such column.
        DataError: the file is missing or cannot be read.
    """
    if not config.path or not config.target:
        raise UsageError(
            "The plugin 'table' needs a file and the column to predict.",
            "Name both, as in the command below.",
            "mlreg run table -p path=houses.csv -p target=price",
        )
    file = (data_dir or Path()) / Path(config.path).expanduser()
    if not file.is_file():
        raise DataError(
            f"There is no file {file}." if not file.exists() else f"{file} is not a file.",
            _near_file(file) or "Give the path of a CSV or Parquet file.",
            f"mlreg run table -p path=FILE -p {shlex.quote(f'target={config.target}')}",
        )
    frame = read_file(file, config)
    for name in (config.target, config.split, *config.drop, *config.categories):
        if name and name not in frame.columns:
            raise _no_such_column(name, list(frame.columns), file, config)
    return frame


def read_file(file: Path, config: TableConfig, *, is_fixed: bool = False) -> pd.DataFrame:
    """Read a CSV or Parquet file, whatever columns it has.

    Args:
        file: to read.
        config: missing, separator, encoding.
        is_fixed: whether the configuration is that of a version, so that nobody can change it.

    Raises:
        UsageError: there is no such encoding.
        DataError: the file cannot be read, or two columns have one name.
    """
    frame = (
        _parquet(file)
        if file.suffix.lower() in (".parquet", ".pq")
        else _csv(file, config, is_fixed)
    )
    frame.columns = [str(name).strip() for name in frame.columns]
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{file} has two columns '{twice}'.", "Give each its own name.")
    return frame


def _csv(file: Path, config: TableConfig, is_fixed: bool) -> pd.DataFrame:
    import pandas as pd

    taken = f"The version takes {config.encoding}, with cells separated by {config.separator!r}."
    encoding = "utf-8-sig" if config.encoding.lower() == "utf-8" else config.encoding
    try:
        frame = pd.read_csv(
            file,
            dtype=str,
            sep=config.separator,
            encoding=encoding,
            na_values=list(config.missing),
            skipinitialspace=True,
        )
        # pandas takes the first cell of every row for a name of the row, if all have one too many
        if not isinstance(frame.index, pd.RangeIndex):
            raise pd.errors.ParserError("its rows have more cells than the first line has names.")
        return frame
    except LookupError:
        raise UsageError(
            f"There is no encoding '{config.encoding}'.", "Try utf-8 or latin-1."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not text in {config.encoding}: byte {error.start:,} is not valid.",
            taken if is_fixed else "Name its encoding: -p encoding=latin-1.",
        ) from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{file} is empty.", "A CSV file starts with a line of names.") from None
    except (pd.errors.ParserError, OSError) as error:
        raise DataError(
            f"{file} cannot be read as CSV: {str(error).strip()}",
            taken
            if is_fixed
            else f"Are its cells separated by {config.separator!r}? If not: -p 'separator=;'.",
        ) from None


def _parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except ImportError:
        raise DataError(
            f"Reading {file.name} needs pyarrow, which is not installed.",
            "Install it, or give the table as CSV.",
            "pip install pyarrow",
        ) from None
    except (OSError, ValueError) as error:
        line = str(error).strip().partition("\n")[0]
        raise DataError(f"{file} cannot be read as Parquet: {line}") from None


def _near_file(file: Path) -> str:
    if not file.parent.is_dir():
        return f"There is no folder {file.parent}."
    names = [each.name for each in file.parent.iterdir() if each.is_file()]
    near = difflib.get_close_matches(file.name, names, n=1)
    return f"Did you mean {file.parent / near[0]}?" if near else ""


def _no_such_column(
    name: str, columns: Sequence[str], file: Path, config: TableConfig
) -> UsageError:
    if len(columns) == 1:
        return UsageError(
            f"{file.name} has a single column, '{columns[0]}'.",
            f"Are its cells separated by something else than {config.separator!r}?",
            f"mlreg run table -p path={shlex.quote(config.path)} "
            f"-p {shlex.quote(f'target={config.target}')} -p 'separator=;'",
        )
    lower = {column.lower(): column for column in columns}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    meant = f" Did you mean '{lower[near[0]]}'?" if near else ""
    return UsageError(
        f"{file.name} has no column '{name}'.", f"Columns: {', '.join(columns)}.{meant}"
    )
