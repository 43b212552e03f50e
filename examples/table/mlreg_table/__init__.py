"""Any table: predicts one column of a CSV or Parquet file from the others.

`mlreg run table -p path=houses.csv -p target=price`
"""

import math
from typing import Literal

from pydantic import Field, field_validator

from mlreg import RunConfig, hookimpl


class TableConfig(RunConfig):
    """The settings of a table."""

    path: str = Field("", description="the CSV or Parquet file; starts from --data-dir if given")
    target: str = Field("", description="the column to predict")
    task: Literal["auto", "classification", "regression"] = Field(
        "auto",
        description="auto: texts, true/false and up to 20 whole numbers are classes",
    )
    unit: str = Field("", description="the unit of a number that is predicted, such as EUR")
    drop: tuple[str, ...] = Field((), description="columns that the model does not get")
    categories: tuple[str, ...] = Field(
        (), description="columns of numbers that are names, such as a postcode"
    )
    missing: tuple[str, ...] = Field(
        (), description="texts that mean a missing value, beside the empty cell, NA, nan, null"
    )
    split: str = Field(
        "", description="a column of train, test and validation; empty: by a hash of the row"
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of rows for testing")
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of rows that are measured after each epoch"
    )
    separator: str = Field(",", min_length=1, description="between the cells of a CSV file")
    encoding: str = Field("utf-8", description="of a CSV file")
    learning_rate: float = Field(
        0.005, gt=0, le=1, description="AdamW's step size in the first epoch; it falls to 0"
    )
    weight_decay: float = Field(1.0, ge=0, le=10, description="of AdamW")
    hidden: tuple[int, ...] = Field(
        (64, 32), description="units of the hidden layers; () is a linear model"
    )
    dropout: float = Field(0.3, ge=0, lt=1, description="share of units dropped in training")

    @field_validator("hidden")
    @classmethod
    def _are_positive(cls, value):
        if any(units < 1 for units in value):
            raise ValueError("each hidden layer needs 1 unit or more")
        return value


@hookimpl
def mlreg_presets():
    """The first one is what `mlreg run table` does."""
    return {
        "baseline": TableConfig(
            about="mean error of house prices 13,934 ± 101 USD, n = 3; ridge regression: 18,302",
            epochs=40,
        ),
        "quick": TableConfig(about="the same for five epochs, to see that it works", epochs=5),
    }


@hookimpl
def mlreg_dataset(config, data_dir, progress):
    """Read the file: a dict with one (rows,) array for each column, and the target's values."""
    from mlreg_table.reading import read_table
    from mlreg_table.splits import make_splits

    return make_splits(read_table(config, data_dir), config, progress.say)


@hookimpl
def mlreg_scheduler(config):
    """Half a cosine, from the learning rate towards 0."""
    return lambda epoch: config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


@hookimpl
def mlreg_model(config, data, learning_rate):
    """Build the network; TensorFlow loads here, for a run only."""
    from mlreg_table.network import build

    return build(config, data, learning_rate)


@hookimpl
def mlreg_input_suffixes():
    """What `mlreg predict` takes of a folder; the first is standard input."""
    return [".csv", ".parquet", ".pq"]


@hookimpl
def mlreg_inputs(paths, config, signature):
    """Read rows to predict; the columns are those that the model was trained on."""
    from mlreg_table.new_rows import read_new_rows

    return read_new_rows(paths, config, signature)
