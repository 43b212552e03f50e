"""The accuracy of examples/folder on drawings and photographs that a Debian package ships.

Tux Paint's stamps are some 800 images in folders such as animals, food and vehicles. Beside it are
two classifiers of scikit-learn, on the same split: logistic regression on small pixels, and a
random forest on small pixels and colours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.measure import command_cost, report

PACKAGE = "tuxpaint-stamps-default"
EXAMPLE = Path(__file__).parents[1] / "examples" / "folder"

# width and height of the pixels that scikit-learn gets, and shades of each colour
_PIXELS, _SHADES = 32, 4


def main(arguments: list[str]) -> None:
    """`python -m benchmarks folder --seeds 3`; needs apt-get, dpkg and scikit-learn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks folder", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="the number of runs, from seed 0 on")
    parser.add_argument("--images", type=Path, help="a folder of images; default: the package's")
    parser.add_argument("-p", action="append", default=[], help="a setting, as for mlreg run")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args(arguments)
    sys.path.append(str(EXAMPLE))
    with tempfile.TemporaryDirectory() as scratch:
        images = options.images or _fetch(Path(scratch))
        split = _split(images, options.p)
        rows: list[dict[str, Any]] = list(_beside(split))
        for row in rows:
            print(json.dumps(row), flush=True)
        runs = []
        for seed in range(options.seeds):
            runs.append(_ours(images, seed, options.p, Path(scratch)))
            print(json.dumps(runs[-1]), flush=True)
    name = PACKAGE.removesuffix("-default") if options.images is None else options.images.name
    report(
        f"examples-{name}",
        [_summary(runs, len(split.splits["test"])), *rows, *runs],
        options.record,
        timed=False,
        plugin="folder",
        data=name,
        classes=len(split.class_names),
        train=len(split.splits["train"]),
        validation=len(split.splits["validation"]),
    )


def _summary(runs: list[dict[str, Any]], test: int) -> dict[str, Any]:
    accuracies = [run["test_accuracy"] for run in runs]
    return {
        "metric": "test_accuracy",
        "mean": round(statistics.fmean(accuracies), 4),
        "deviation": round(statistics.stdev(accuracies), 4) if len(runs) > 1 else None,
        "n": len(runs),
        "test": test,
    }


def _fetch(scratch: Path) -> Path:
    """Download the package and unpack it; nothing is installed."""
    scratch.chmod(0o755)  # apt-get downloads as another user
    subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=scratch, check=True)
    (file,) = scratch.glob("*.deb")
    subprocess.run(["dpkg", "-x", file.name, "unpacked"], cwd=scratch, check=True)
    return scratch / "unpacked" / "usr" / "share" / "tuxpaint" / "stamps"


def _split(images: Path, settings: list[str]) -> Any:
    """The split of a run with these settings."""
    from mlreg_folder.config import FolderConfig
    from mlreg_folder.scanning import scan

    config = FolderConfig().changed(dict(each.split("=", 1) for each in settings))
    return scan(images, config.size, config.test_fraction, config.validation_fraction)


def _ours(images: Path, seed: int, settings: list[str], scratch: Path) -> dict[str, Any]:
    (scratch / "plugins.toml").write_text('[plugins]\nfolder = "mlreg_folder"\n')
    words = [sys.executable, "-m", "registry_core", "--registry", str(scratch / "registry")]
    words += ["run", "folder", "--seed", str(seed), "--json", "-p", f"path={images}"]
    words += [word for each in settings for word in ("-p", each)]
    cost = command_cost(words, {"PYTHONPATH": str(EXAMPLE)}, folder=scratch)
    version = json.loads(cost.report)["version"]
    accuracy = round(version["metrics"]["test_accuracy"], 4)
    return {"seed": seed, "test_accuracy": accuracy}


def _beside(split: Any) -> list[dict[str, Any]]:
    """The accuracies of scikit-learn's classifiers, and of the commonest class.

    They are trained on all that a run of mlreg sees before its test: also the validation split.
    """
    import numpy as np
    from mlreg_folder.images import read_image
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        files = [image.path for name in names for image in split.splits[name]]
        pixels = np.stack([read_image(file, _PIXELS) for file in files])
        shades = (pixels // (256 // _SHADES)).astype(int)
        colours = shades @ [_SHADES**2, _SHADES, 1]
        counts = np.stack([np.bincount(each.ravel(), minlength=_SHADES**3) for each in colours])
        flat = pixels.reshape(len(pixels), -1) / 255
        classes = np.concatenate([split.labels(name) for name in names])
        return flat, np.concatenate([flat, counts / _PIXELS**2], axis=1), classes

    pixels, all_features, classes = features(("train", "validation"))
    test_pixels, test_features, test_classes = features(("test",))
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=2000))
    forest = RandomForestClassifier(500, random_state=0)
    commonest = Counter(classes.tolist()).most_common(1)[0][0]
    accuracies = {
        "the commonest class": (test_classes == commonest).mean(),
        "logistic regression": linear.fit(pixels, classes).score(test_pixels, test_classes),
        "random forest": forest.fit(all_features, classes).score(test_features, test_classes),
    }
    return [
        {"side": side, "test_accuracy": round(float(accuracy), 4)}
        for side, accuracy in accuracies.items()
    ]
