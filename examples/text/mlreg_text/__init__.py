"""Any texts with labels: classifies the texts of a CSV or JSONL file.

`mlreg run text -p path=reviews.csv -p text=review -p label=stars`
"""

import math

from pydantic import Field

from mlreg import RunConfig, hookimpl


class TextConfig(RunConfig):
    """The settings of texts."""

    path: str = Field(
        "", description="the CSV or JSONL file; starts from --data-dir if that is given"
    )
    text: str = Field("text", description="the column of texts")
    label: str = Field("label", description="the column of classes")
    several: str = Field(
        "", description="between the labels of a text that may have several, such as ;"
    )
    balance: bool = Field(
        False, description="whether every class counts the same in training, rare ones included"
    )
    split: str = Field(
        "", description="a column of train, test and validation; empty: by a hash of the text"
    )
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of texts for testing")
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of texts that are measured after each epoch"
    )
    separator: str = Field(",", min_length=1, description="between the cells of a CSV file")
    encoding: str = Field("utf-8", description="of the file")
    ngrams: int = Field(2, ge=1, le=4, description="up to this many words in a row are a feature")
    vocabulary: int = Field(
        50_000, ge=10, le=1_000_000, description="most features; the most frequent ones are taken"
    )
    hidden: int = Field(32, ge=0, le=4096, description="units of the hidden layer; 0 is linear")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of units dropped in training")
    learning_rate: float = Field(
        0.003, gt=0, le=1, description="AdamW's step size in the first epoch; it falls to 0"
    )
    weight_decay: float = Field(0.01, ge=0, le=10, description="of AdamW")


@hookimpl
def mlreg_presets():
    """The first one is what `mlreg run text` does."""
    return {
        "baseline": TextConfig(
            about="80.6 ± 0.4 % of 978 food reviews, n = 3; TF-IDF and logistic regression: 81.1 %",
            epochs=8,
            batch_size=64,
        ),
        "quick": TextConfig(
            about="the same for two epochs, to see that it works", epochs=2, batch_size=64
        ),
    }


@hookimpl
def mlreg_dataset(config, data_dir, progress):
    """Read the file: (examples,) texts, and the class of each."""
    from mlreg_text.reading import make_splits, read_texts

    return make_splits(read_texts(config, data_dir), config, progress.say)


@hookimpl
def mlreg_scheduler(config):
    """Half a cosine, from the learning rate towards 0."""
    return lambda epoch: config.learning_rate * (1 + math.cos(math.pi * epoch / config.epochs)) / 2


@hookimpl
def mlreg_model(config, data, learning_rate):
    """Build the network; TensorFlow loads here, for a run only."""
    from mlreg_text.network import build

    return build(config, data, learning_rate)


@hookimpl
def mlreg_input_suffixes():
    """What `mlreg predict` takes of a folder; the first is standard input."""
    return [".txt", ".csv", ".jsonl", ".ndjson"]


@hookimpl
def mlreg_inputs(paths, config):
    """Read texts: a line each, or the texts of the column of a CSV or JSONL file."""
    from mlreg_text.new_texts import read_new_texts

    return read_new_texts(paths, config)
