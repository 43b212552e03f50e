"""A log of every run for TensorBoard."""

from pathlib import Path

from mlreg import hookimpl


@hookimpl
def mlreg_callbacks(run_dir):
    """Log a run for TensorBoard; a run that is resumed goes on in the same folder."""
    from mlreg_tensorboard.settings import read_settings

    settings = read_settings(run_dir)

    import keras

    kept = run_dir / "kept" / "tensorboard"  # files of the version
    folder = Path(settings.dir) / run_dir.name if settings.dir else kept
    return [
        keras.callbacks.TensorBoard(
            str(folder),
            update_freq=settings.update,
            histogram_freq=settings.histograms,
            write_graph=settings.graph,
            profile_batch=0,
        )
    ]
