"""The other sides of the comparison of tuners, each in a process of its own.

    python -m benchmarks.tuners_others SIDE FOLDER TRIALS

SIDE is `bare`, `Keras Tuner` or `Ray Tune`. In a folder that has a search already, a tuner resumes
it as its documentation says. At the end, `results.json` in the folder has the settings and the
validation loss of each trial. A bare loop takes the settings from `settings.json`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tuners_toy import (
    DROPOUT,
    EPOCHS,
    LEARNING_RATE,
    SEED,
    UNITS,
    build,
    fit,
    in_order,
    seed_all,
)


def bare(folder: Path, trials: int) -> list[dict[str, Any]]:
    """Build and fit one model after another, and keep nothing."""
    import keras

    results = []
    for settings in json.loads((folder / "settings.json").read_text())[:trials]:
        keras.backend.clear_session()
        seed_all()
        results.append({**settings, "value": fit(build(settings), settings)["val_loss"]})
    return results


def keras_tuner(folder: Path, trials: int) -> list[dict[str, Any]]:
    """Keras Tuner; `overwrite=False` resumes the project that the folder has.

    It has no checkpoint to resume an interrupted trial from: it trains that trial again.
    """
    import keras_tuner

    class Toy(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            seed_all()
            return build(
                {
                    "learning_rate": hp.Float("learning_rate", *LEARNING_RATE, sampling="log"),
                    "units": hp.Choice("units", list(UNITS)),
                    "dropout": hp.Float("dropout", *DROPOUT),
                }
            )

        def fit(self, hp: Any, model: Any, *arguments: Any, **named: Any) -> Any:
            return fit(model, in_order(hp.values), named["callbacks"])

    tuner = keras_tuner.RandomSearch(
        Toy(),
        keras_tuner.Objective("val_loss", "min"),
        max_trials=trials,
        seed=SEED,
        directory=folder,
        project_name="toy",
        overwrite=False,
    )
    tuner.search(verbose=0)
    return [
        {**in_order(trial.hyperparameters.values), "value": trial.score}
        for trial in tuner.oracle.trials.values()
    ]


def _ray_trial(config: Mapping[str, Any]) -> None:
    """Train; resume at the last checkpoint, of which there is one an epoch."""
    import keras
    from ray import tune

    class Reporting(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            with tempfile.TemporaryDirectory() as name:
                self.model.save(Path(name) / "model.keras")
                (Path(name) / "epoch").write_text(str(epoch + 1))
                tune.report(dict(logs), checkpoint=tune.Checkpoint.from_directory(name))

    keras.backend.clear_session()
    seed_all()
    settings = in_order(config)
    first_epoch, checkpoint = 0, tune.get_checkpoint()
    if checkpoint is None:
        model = build(settings)
    else:
        with checkpoint.as_directory() as name:
            model = keras.models.load_model(Path(name) / "model.keras")
            first_epoch = int((Path(name) / "epoch").read_text())
    if first_epoch < EPOCHS:
        fit(model, settings, [Reporting()], first_epoch)


def ray_tune(folder: Path, trials: int) -> list[dict[str, Any]]:
    """Ray Tune; `Tuner.restore` resumes the experiment that the folder has.

    One trial at a time has all cores, and one process trains them all.
    """
    import ray
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    cores = os.cpu_count() or 1
    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=100_000_000,
        _temp_dir=str(folder / "r"),
    )
    trainable = tune.with_resources(_ray_trial, {"cpu": cores})
    experiment = folder / "toy"
    if tune.Tuner.can_restore(experiment):
        tuner = tune.Tuner.restore(str(experiment), trainable=trainable, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={
                "learning_rate": tune.loguniform(*LEARNING_RATE),
                "units": tune.choice(list(UNITS)),
                "dropout": tune.uniform(*DROPOUT),
            },
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                num_samples=trials,
                search_alg=BasicVariantGenerator(random_state=SEED),
                max_concurrent_trials=1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="toy",
                storage_path=str(folder),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                verbose=0,
            ),
        )
    found = tuner.fit()
    results = [
        {**in_order(result.config), "value": (result.metrics or {}).get("val_loss")}
        for result in found
    ]
    ray.shutdown()
    return results


SIDES = {"bare": bare, "Keras Tuner": keras_tuner, "Ray Tune": ray_tune}


def main(side: str, folder: str, trials: str) -> None:
    results = SIDES[side](Path(folder), int(trials))
    (Path(folder) / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
